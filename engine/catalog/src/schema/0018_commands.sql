-- What may be run on a client: a name in the policy of its owner, under a name of the suite's.
CREATE TABLE commands (
    name                TEXT    NOT NULL PRIMARY KEY,
    client              BIGINT  NOT NULL REFERENCES clients (client),
    local_name          TEXT    NOT NULL,
    timeout_s           BIGINT  CHECK (timeout_s > 0),
    created_unix_ms     BIGINT  NOT NULL
);

-- A tree of places; hosts stand in it.
CREATE TABLE locations (
    name                TEXT    NOT NULL PRIMARY KEY,
    parent              TEXT,
    note                TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL
);
CREATE INDEX locations_by_parent ON locations (parent);
ALTER TABLE clients ADD COLUMN location TEXT REFERENCES locations (name);

-- How a host that sleeps is woken: a JSON object with its network card's address.
ALTER TABLE clients ADD COLUMN wake TEXT;

-- Who set a user's password last: whoever did knows it. NULL: not known.
ALTER TABLE users ADD COLUMN password_by TEXT;

-- Jobs of commands have no datastore. A constraint cannot be changed: the tables are made anew.
DROP INDEX jobs_by_state;
DROP INDEX jobs_by_task;
DROP INDEX jobs_by_event;
DROP INDEX jobs_to_follow;
DROP INDEX jobs_by_saveset;
DROP INDEX results_by_saveset;
DROP INDEX results_by_task;
DROP INDEX runs_by_job;
ALTER TABLE jobs RENAME TO jobs_before_18;
ALTER TABLE job_problems RENAME TO job_problems_before_18;
ALTER TABLE job_log RENAME TO job_log_before_18;
ALTER TABLE results RENAME TO results_before_18;
ALTER TABLE runs RENAME TO runs_before_18;

CREATE TABLE jobs (
    job                     BIGINT  NOT NULL PRIMARY KEY,
    kind                    TEXT    NOT NULL,
    task                    BIGINT  REFERENCES tasks (task) ON DELETE SET NULL,
    task_name               TEXT    NOT NULL,
    client                  BIGINT  NOT NULL REFERENCES clients (client),
    client_name             TEXT    NOT NULL,
    store                   BLOB    REFERENCES datastores (store),
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
    event                   TEXT    NOT NULL DEFAULT '',
    rank                    INTEGER NOT NULL DEFAULT 100,
    start_by_unix_ms        BIGINT,
    not_before_unix_ms      BIGINT,
    timeout_s               BIGINT,
    attempt                 INTEGER NOT NULL DEFAULT 1,
    retry_of                BIGINT,
    held_by                 TEXT,
    followed                INTEGER NOT NULL DEFAULT 0,
    pool                    TEXT,
    CHECK ((state IN ('queued', 'running')) = (ended_unix_ms IS NULL)),
    CHECK ((error_kind IS NULL) = (error_message IS NULL)),
    CHECK (store IS NOT NULL OR kind = 'command')
);
INSERT INTO jobs (job, kind, task, task_name, client, client_name, store, domain, drive, level,
        saveset, transfer, request, requested_by, state, queued_unix_ms, started_unix_ms,
        ended_unix_ms, cancel_asked_unix_ms, progress, error_kind, error_message, problems, event,
        rank, start_by_unix_ms, not_before_unix_ms, timeout_s, attempt, retry_of, held_by, followed,
        pool)
    SELECT job, kind, task, task_name, client, client_name, store, domain, drive, level,
        saveset, transfer, request, requested_by, state, queued_unix_ms, started_unix_ms,
        ended_unix_ms, cancel_asked_unix_ms, progress, error_kind, error_message, problems, event,
        rank, start_by_unix_ms, not_before_unix_ms, timeout_s, attempt, retry_of, held_by, followed,
        pool
    FROM jobs_before_18;

CREATE TABLE job_problems (
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    position            INTEGER NOT NULL,
    path                BLOB    NOT NULL,
    kind                TEXT    NOT NULL,
    message             TEXT    NOT NULL,
    PRIMARY KEY (job, position)
);
INSERT INTO job_problems (job, position, path, kind, message)
    SELECT job, position, path, kind, message FROM job_problems_before_18;

CREATE TABLE job_log (
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    position            INTEGER NOT NULL,
    at_unix_ms          BIGINT  NOT NULL,
    severity            TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    line                TEXT    NOT NULL,
    PRIMARY KEY (job, position)
);
INSERT INTO job_log (job, position, at_unix_ms, severity, line)
    SELECT job, position, at_unix_ms, severity, line FROM job_log_before_18;

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
    FROM results_before_18;

CREATE TABLE runs (
    run                 BIGINT  NOT NULL PRIMARY KEY,
    event               TEXT    NOT NULL,
    cause               TEXT    NOT NULL,
    subject             TEXT    NOT NULL,
    kind                TEXT    NOT NULL,
    occurrence_unix_ms  BIGINT,
    backup_day          TEXT    NOT NULL,
    fate                TEXT    NOT NULL CHECK (fate IN ('runs', 'suppressed', 'blocked', 'blocks',
                            'missed', 'refused')),
    why                 TEXT,
    decided_unix_ms     BIGINT  NOT NULL,
    job                 BIGINT  REFERENCES jobs (job) ON DELETE SET NULL,
    UNIQUE (event, cause, subject)
);
INSERT INTO runs (run, event, cause, subject, kind, occurrence_unix_ms, backup_day, fate, why,
        decided_unix_ms, job)
    SELECT run, event, cause, subject, kind, occurrence_unix_ms, backup_day, fate, why,
        decided_unix_ms, job
    FROM runs_before_18;

DROP TABLE job_problems_before_18;
DROP TABLE job_log_before_18;
DROP TABLE results_before_18;
DROP TABLE runs_before_18;
DROP TABLE jobs_before_18;
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_task ON jobs (task_name);
CREATE INDEX jobs_by_event ON jobs (event, job);
CREATE INDEX jobs_to_follow ON jobs (followed, event);
CREATE INDEX jobs_by_saveset ON jobs (saveset);
CREATE INDEX results_by_saveset ON results (saveset);
CREATE INDEX results_by_task ON results (task_name, ended_unix_ms);
CREATE INDEX runs_by_job ON runs (job);
