-- Named days, such as holidays: the text form of `ground/schedule`.
CREATE TABLE calendars (
    name                TEXT    NOT NULL PRIMARY KEY,
    days                TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL
);

-- When something runs: one line of text.
CREATE TABLE schedules (
    name                TEXT    NOT NULL PRIMARY KEY,
    line                TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL
);

CREATE TABLE task_groups (
    name                TEXT    NOT NULL PRIMARY KEY,
    created_unix_ms     BIGINT  NOT NULL
);

CREATE TABLE task_group_tasks (
    task_group          TEXT    NOT NULL REFERENCES task_groups (name) ON DELETE CASCADE,
    task                BIGINT  NOT NULL REFERENCES tasks (task),
    PRIMARY KEY (task_group, task)
);
CREATE INDEX task_group_tasks_by_task ON task_group_tasks (task);

-- What runs by a schedule. `document` is the Server's own; what others refer to stands in columns and
-- tables. `considered`: the stretches of time whose occurrences were decided on.
CREATE TABLE events (
    name                TEXT    NOT NULL PRIMARY KEY,
    kind                TEXT    NOT NULL,
    schedule            TEXT    REFERENCES schedules (name),
    enabled             INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    document            TEXT    NOT NULL,
    considered          TEXT,
    created_unix_ms     BIGINT  NOT NULL
);
CREATE INDEX events_by_schedule ON events (schedule);

-- Who uses what, by name: an event its subjects, follow-ups, calendars and places; a schedule its calendars. `role`
-- is what the name is for. What is in use cannot be removed.
CREATE TABLE uses (
    user_noun           TEXT    NOT NULL,
    user_name           TEXT    NOT NULL,
    position            INTEGER NOT NULL,
    role                TEXT    NOT NULL,
    noun                TEXT    NOT NULL,
    name                TEXT    NOT NULL,
    PRIMARY KEY (user_noun, user_name, position)
);
CREATE INDEX uses_by_name ON uses (noun, name);

-- What became of each occurrence of an event, for each of its subjects, and of what it was started for
-- otherwise. `cause` with event and subject is its identity: an instant ('at 2026-11-26T22:00:00Z'), the job
-- whose end it follows ('after 17'), or a person's wish ('by hand 3').
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
CREATE INDEX runs_by_job ON runs (job);

-- How a job waits. `event`: the event that it is of; empty for what a person started. `rank`: the order of the
-- queue, the highest first. `followed`: what its end starts was started.
ALTER TABLE jobs ADD COLUMN event TEXT NOT NULL DEFAULT '';
ALTER TABLE jobs ADD COLUMN rank INTEGER NOT NULL DEFAULT 100;
ALTER TABLE jobs ADD COLUMN start_by_unix_ms BIGINT;
ALTER TABLE jobs ADD COLUMN not_before_unix_ms BIGINT;
ALTER TABLE jobs ADD COLUMN timeout_s BIGINT;
ALTER TABLE jobs ADD COLUMN attempt INTEGER NOT NULL DEFAULT 1;
ALTER TABLE jobs ADD COLUMN retry_of BIGINT;
ALTER TABLE jobs ADD COLUMN held_by TEXT;
ALTER TABLE jobs ADD COLUMN followed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX jobs_by_event ON jobs (event, job);
CREATE INDEX jobs_to_follow ON jobs (followed, event);

-- How many jobs at once; NULL: as many as the drives take.
ALTER TABLE clients ADD COLUMN jobs_max INTEGER CHECK (jobs_max > 0);
ALTER TABLE drive_groups ADD COLUMN jobs_max INTEGER CHECK (jobs_max > 0);
