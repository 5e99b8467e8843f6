-- What all jobs came to, also those whose rows were removed since.
CREATE TABLE job_totals (
    kind                TEXT    NOT NULL,
    outcome             TEXT    NOT NULL,
    jobs                BIGINT  NOT NULL,
    files               BIGINT  NOT NULL,
    bytes               BIGINT  NOT NULL,
    bytes_new           BIGINT  NOT NULL,
    bytes_wire          BIGINT  NOT NULL,
    problems            BIGINT  NOT NULL,
    PRIMARY KEY (kind, outcome)
);
INSERT INTO job_totals (kind, outcome, jobs, files, bytes, bytes_new, bytes_wire, problems)
    SELECT kind, outcome, COUNT(*), SUM(files), SUM(bytes), SUM(bytes_new), SUM(bytes_wire), SUM(problems)
    FROM results GROUP BY kind, outcome;

-- The last job of a task, of a kind, or of a datastore is found without a look at the others.
CREATE INDEX jobs_of_task ON jobs (task_name, kind, job);
CREATE INDEX jobs_by_kind ON jobs (kind, state, store, ended_unix_ms);
CREATE INDEX results_by_kind ON results
    (kind, task_name, outcome, client_name, ended_unix_ms, started_unix_ms, job);
DROP INDEX jobs_by_task;
