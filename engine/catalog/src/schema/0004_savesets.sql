-- Every column derives from the saveset's manifest, and can be made from it again.
CREATE TABLE savesets (
    saveset                 BLOB    NOT NULL PRIMARY KEY,
    store                   BLOB    NOT NULL REFERENCES datastores (store),
    sequence                BIGINT  NOT NULL,
    domain                  BLOB    NOT NULL REFERENCES domains (domain),
    client_name             TEXT    NOT NULL,
    task_name               TEXT    NOT NULL,
    level                   TEXT    NOT NULL CHECK (level IN ('full', 'diff', 'incr', 'copy')),
    base                    BLOB,
    scan_started_unix_ns    BIGINT  NOT NULL,
    committed_unix_ns       BIGINT  NOT NULL,
    lock_until_unix_s       BIGINT  NOT NULL,
    files                   BIGINT  NOT NULL,
    dirs                    BIGINT  NOT NULL,
    bytes                   BIGINT  NOT NULL,
    bytes_new               BIGINT  NOT NULL,
    bytes_stored            BIGINT  NOT NULL,
    problems                BIGINT  NOT NULL,
    state                   TEXT    NOT NULL CHECK (state IN ('present', 'missing')),
    UNIQUE (store, sequence)
);
CREATE INDEX savesets_by_task ON savesets (client_name, task_name, sequence);

-- One row for each job that ended: what a person asks for in the morning.
CREATE TABLE results (
    job                     BIGINT  NOT NULL PRIMARY KEY REFERENCES jobs (job),
    saveset                 BLOB,
    kind                    TEXT    NOT NULL,
    task_name               TEXT    NOT NULL,
    client_name             TEXT    NOT NULL,
    level                   TEXT,
    outcome                 TEXT    NOT NULL,
    started_unix_ms         BIGINT,
    ended_unix_ms           BIGINT  NOT NULL,
    files                   BIGINT  NOT NULL,
    bytes                   BIGINT  NOT NULL,
    bytes_new               BIGINT  NOT NULL,
    bytes_wire              BIGINT  NOT NULL,
    problems                BIGINT  NOT NULL
);
CREATE INDEX results_by_saveset ON results (saveset);
CREATE INDEX results_by_task ON results (task_name, ended_unix_ms);
