-- Restore drills that ended: the document that says what was restored and what became of it, as it was signed,
-- and the row of the audit log that holds its hash.
CREATE TABLE drills (
    job                 BIGINT  NOT NULL PRIMARY KEY REFERENCES jobs (job),
    task_name           TEXT    NOT NULL,
    client_name         TEXT    NOT NULL,
    saveset             BLOB    NOT NULL,
    store               BLOB    NOT NULL,
    passed              INTEGER NOT NULL CHECK (passed IN (0, 1)),
    ended_unix_ms       BIGINT  NOT NULL,
    document            TEXT    NOT NULL,
    signature           TEXT    NOT NULL,
    audit               BIGINT  NOT NULL
);
CREATE INDEX drills_by_task ON drills (client_name, task_name, job);
