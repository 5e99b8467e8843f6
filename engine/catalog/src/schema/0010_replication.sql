-- Savesets of one datastore, or some of them, are copied into another one. 'drive' leads to the
-- datastore whose device is dialled; 'rates' is a JSON list.
CREATE TABLE replications (
    name                TEXT    NOT NULL PRIMARY KEY,
    source              BLOB    NOT NULL REFERENCES datastores (store),
    target              BLOB    NOT NULL REFERENCES datastores (store),
    pull                INTEGER NOT NULL CHECK (pull IN (0, 1)),
    drive               INTEGER NOT NULL REFERENCES drives (drive),
    client_name         TEXT,
    task_name           TEXT,
    rates               TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL,
    CHECK (source <> target)
);

-- Where savesets lie besides the datastore of their row.
CREATE TABLE copies (
    saveset             BLOB    NOT NULL,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    sequence            BIGINT  NOT NULL,
    PRIMARY KEY (saveset, store)
);
CREATE INDEX copies_by_store ON copies (store, sequence);

-- Jobs get more kinds. A constraint cannot be changed: the tables are made anew.
DROP INDEX jobs_by_state;
DROP INDEX jobs_by_task;
DROP INDEX results_by_saveset;
DROP INDEX results_by_task;
ALTER TABLE jobs RENAME TO jobs_before;
ALTER TABLE job_problems RENAME TO job_problems_before;
ALTER TABLE job_log RENAME TO job_log_before;
ALTER TABLE results RENAME TO results_before;

CREATE TABLE jobs (
    job                     BIGINT  NOT NULL PRIMARY KEY,
    kind                    TEXT    NOT NULL,
    task                    BIGINT  REFERENCES tasks (task) ON DELETE SET NULL,
    task_name               TEXT    NOT NULL,
    client                  BIGINT  NOT NULL REFERENCES clients (client),
    client_name             TEXT    NOT NULL,
    store                   BLOB    NOT NULL REFERENCES datastores (store),
    domain                  BLOB    REFERENCES domains (domain),
    drive                   INTEGER REFERENCES drives (drive),
    level                   TEXT    CHECK (level IN ('full', 'diff', 'incr', 'copy')),
    saveset                 BLOB,
    transfer                BLOB,
    request                 TEXT    NOT NULL,
    requested_by            TEXT    NOT NULL,
    state                   TEXT    NOT NULL CHECK (state IN ('queued', 'running', 'finished',
                                'finished_with_errors', 'failed', 'cancelled', 'interrupted')),
    queued_unix_ms          BIGINT  NOT NULL,
    started_unix_ms         BIGINT,
    ended_unix_ms           BIGINT,
    cancel_asked_unix_ms    BIGINT,
    progress                TEXT    NOT NULL,
    error_kind              TEXT,
    error_message           TEXT,
    problems                BIGINT  NOT NULL,
    CHECK ((state IN ('queued', 'running')) = (ended_unix_ms IS NULL)),
    CHECK ((error_kind IS NULL) = (error_message IS NULL))
);
INSERT INTO jobs (job, kind, task, task_name, client, client_name, store, domain, drive, level,
        saveset, transfer, request, requested_by, state, queued_unix_ms, started_unix_ms,
        ended_unix_ms, cancel_asked_unix_ms, progress, error_kind, error_message, problems)
    SELECT job, kind, task, task_name, client, client_name, store, domain, drive, level,
        saveset, transfer, request, requested_by, state, queued_unix_ms, started_unix_ms,
        ended_unix_ms, cancel_asked_unix_ms, progress, error_kind, error_message, problems
    FROM jobs_before;

CREATE TABLE job_problems (
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    position            INTEGER NOT NULL,
    path                BLOB    NOT NULL,
    kind                TEXT    NOT NULL,
    message             TEXT    NOT NULL,
    PRIMARY KEY (job, position)
);
INSERT INTO job_problems (job, position, path, kind, message)
    SELECT job, position, path, kind, message FROM job_problems_before;

CREATE TABLE job_log (
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    position            INTEGER NOT NULL,
    at_unix_ms          BIGINT  NOT NULL,
    severity            TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    line                TEXT    NOT NULL,
    PRIMARY KEY (job, position)
);
INSERT INTO job_log (job, position, at_unix_ms, severity, line)
    SELECT job, position, at_unix_ms, severity, line FROM job_log_before;

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
    problems                BIGINT  NOT NULL,
    checked                 TEXT
);
INSERT INTO results (job, saveset, kind, task_name, client_name, level, outcome, started_unix_ms,
        ended_unix_ms, files, bytes, bytes_new, bytes_wire, problems, checked)
    SELECT job, saveset, kind, task_name, client_name, level, outcome, started_unix_ms,
        ended_unix_ms, files, bytes, bytes_new, bytes_wire, problems, checked
    FROM results_before;

DROP TABLE job_problems_before;
DROP TABLE job_log_before;
DROP TABLE results_before;
DROP TABLE jobs_before;
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_task ON jobs (task_name);
CREATE INDEX results_by_saveset ON results (saveset);
CREATE INDEX results_by_task ON results (task_name, ended_unix_ms);
