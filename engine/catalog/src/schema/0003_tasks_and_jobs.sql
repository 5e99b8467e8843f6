CREATE TABLE tasks (
    task                BIGINT  NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    client              BIGINT  NOT NULL REFERENCES clients (client),
    kind                TEXT    NOT NULL CHECK (kind IN ('path', 'stream')),
    sources             TEXT    NOT NULL,
    excludes            TEXT    NOT NULL,
    options             TEXT    NOT NULL,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    drive               INTEGER REFERENCES drives (drive),
    eol_days            INTEGER NOT NULL CHECK (eol_days >= 0),
    created_unix_ms     BIGINT  NOT NULL
);
CREATE INDEX tasks_by_client ON tasks (client);

-- The names of task and client are copied: they outlive the rows they came from.
CREATE TABLE jobs (
    job                     BIGINT  NOT NULL PRIMARY KEY,
    kind                    TEXT    NOT NULL CHECK (kind IN ('backup', 'restore', 'verify', 'rebuild')),
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
CREATE INDEX jobs_by_state ON jobs (state);
CREATE INDEX jobs_by_task ON jobs (task_name);

CREATE TABLE job_problems (
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    position            INTEGER NOT NULL,
    path                BLOB    NOT NULL,
    kind                TEXT    NOT NULL,
    message             TEXT    NOT NULL,
    PRIMARY KEY (job, position)
);

CREATE TABLE job_log (
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    position            INTEGER NOT NULL,
    at_unix_ms          BIGINT  NOT NULL,
    severity            TEXT    NOT NULL CHECK (severity IN ('info', 'warning', 'error')),
    line                TEXT    NOT NULL,
    PRIMARY KEY (job, position)
);
