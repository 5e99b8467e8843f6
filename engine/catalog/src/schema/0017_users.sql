-- People who may ask the server. `grants` is a document of the server's own: roles and rights, each for all
-- or for one client. Passwords are here as Argon2id hashes, the secret of one-time passwords is sealed by a
-- key that is kept outside this database.
CREATE TABLE users (
    account             BIGINT  NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    grants              TEXT    NOT NULL,
    disabled            INTEGER NOT NULL CHECK (disabled IN (0, 1)),
    password_hash       TEXT    NOT NULL,
    totp_sealed         BLOB,
    totp_step           BIGINT  NOT NULL,
    failed_attempts     INTEGER NOT NULL,
    locked_until_unix_ms BIGINT,
    created_unix_ms     BIGINT  NOT NULL,
    seen_unix_ms        BIGINT
);

-- Secrets with which programs ask the server. The secret itself is nowhere: its hash finds the row. One of a
-- user never may more than the user may, and goes with the user.
CREATE TABLE api_tokens (
    token               BIGINT  NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    account             BIGINT  REFERENCES users (account) ON DELETE CASCADE,
    grants              TEXT    NOT NULL,
    secret_hash         BLOB    NOT NULL UNIQUE,
    created_by          TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL,
    expires_unix_ms     BIGINT,
    revoked_unix_ms     BIGINT,
    used_unix_ms        BIGINT
);
CREATE INDEX api_tokens_by_account ON api_tokens (account);

-- Browsers that are logged in.
CREATE TABLE console_sessions (
    secret_hash         BLOB    NOT NULL PRIMARY KEY,
    account             BIGINT  NOT NULL REFERENCES users (account) ON DELETE CASCADE,
    address             TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL,
    used_unix_ms        BIGINT  NOT NULL
);
CREATE INDEX console_sessions_by_account ON console_sessions (account);
