-- Numbers that are handed out once and never again.
CREATE TABLE counters (
    name        TEXT    NOT NULL PRIMARY KEY,
    last_value  BIGINT  NOT NULL
);

-- Hosts that proved themselves. A row is never deleted: history refers to it.
CREATE TABLE clients (
    client              BIGINT  NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    host_key            TEXT    NOT NULL,
    addresses           TEXT    NOT NULL,
    listen_port         INTEGER NOT NULL CHECK (listen_port BETWEEN 1 AND 65535),
    roles               TEXT    NOT NULL,
    platform            TEXT    NOT NULL,
    suite_version       TEXT    NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('enrolled', 'revoked')),
    enrolled_unix_ms    BIGINT  NOT NULL,
    revoked_unix_ms     BIGINT,
    last_seen_unix_ms   BIGINT
);

-- One-time codes. The secret is sealed by a key that is kept outside this database.
CREATE TABLE join_codes (
    code_hash           BLOB    NOT NULL PRIMARY KEY,
    sealed_secret       BLOB    NOT NULL,
    client_name         TEXT,
    created_unix_ms     BIGINT  NOT NULL,
    expires_unix_ms     BIGINT  NOT NULL,
    used_unix_ms        BIGINT,
    used_by             BIGINT  REFERENCES clients (client),
    wrong_attempts      INTEGER NOT NULL
);
