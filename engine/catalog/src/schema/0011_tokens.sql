-- Access tokens for raw streams of other people's tools. The secret itself is nowhere: its hash finds
-- the row. A token is for one task and goes with it.
CREATE TABLE tokens (
    token               BIGINT  NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    task                BIGINT  NOT NULL REFERENCES tasks (task) ON DELETE CASCADE,
    allows              TEXT    NOT NULL CHECK (allows IN ('store', 'read', 'both')),
    secret_hash         BLOB    NOT NULL UNIQUE,
    created_unix_ms     BIGINT  NOT NULL,
    expires_unix_ms     BIGINT,
    revoked_unix_ms     BIGINT,
    used_unix_ms        BIGINT
);
CREATE INDEX tokens_by_task ON tokens (task);
