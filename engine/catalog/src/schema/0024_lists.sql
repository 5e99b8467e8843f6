-- Lists of jobs, newest first, by state and by client, are found without a look at the rest; so are the
-- outcomes by day.
DROP INDEX jobs_by_state;
CREATE INDEX jobs_by_state ON jobs (state, job);
CREATE INDEX jobs_by_client ON jobs (client, job);
DROP INDEX jobs_by_end;
CREATE INDEX jobs_by_end ON jobs (ended_unix_ms, state);

-- What was found of each way of the port plan when it was tried last. Names, not numbers: a way is one of the
-- plan, and goes with it. `interface` is empty where the host is dialled by its own names; `found` is JSON.
CREATE TABLE probes (
    row             TEXT NOT NULL,
    dialler         TEXT NOT NULL,
    dialled         TEXT NOT NULL,
    interface       TEXT NOT NULL,
    found           TEXT NOT NULL,
    tried_unix_ms   BIGINT NOT NULL,
    good_unix_ms    BIGINT,
    PRIMARY KEY (row, dialler, dialled, interface)
);
