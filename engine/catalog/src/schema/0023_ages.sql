-- The occurrence up to which a notification told its report; NULL: it has none yet.
ALTER TABLE notifications ADD COLUMN reported_unix_ms BIGINT;

-- What is too old to be kept is found without a look at the rest.
CREATE INDEX jobs_by_end ON jobs (ended_unix_ms);
CREATE INDEX runs_by_decision ON runs (decided_unix_ms);
CREATE INDEX runs_of_subject ON runs (event, subject, run);
CREATE INDEX results_by_end ON results (ended_unix_ms);
