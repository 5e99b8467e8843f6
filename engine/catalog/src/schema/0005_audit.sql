-- A chain: each row holds the hash of the row before it. Rows are only ever added.
CREATE TABLE audit (
    position            BIGINT  NOT NULL PRIMARY KEY,
    at_unix_ms          BIGINT  NOT NULL,
    principal           TEXT    NOT NULL,
    verb                TEXT    NOT NULL,
    object              TEXT    NOT NULL,
    allowed             INTEGER NOT NULL CHECK (allowed IN (0, 1)),
    detail              TEXT    NOT NULL,
    previous_hash       BLOB    NOT NULL,
    row_hash            BLOB    NOT NULL
);

-- Where the chain ends, so that rows cut off its end are missed.
CREATE TABLE audit_head (
    one                 INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    position            BIGINT  NOT NULL,
    row_hash            BLOB    NOT NULL
);
