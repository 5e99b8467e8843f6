-- Whom the server tells what. `document` is the Server's own; `secret` is sealed by its master key.
CREATE TABLE notifications (
    name                TEXT    NOT NULL PRIMARY KEY,
    document            TEXT    NOT NULL,
    secret              BLOB,
    created_unix_ms     BIGINT  NOT NULL
);

-- What is to be told, and what was. Notices join the newest message that nobody tried to deliver yet; a message that
-- was tried stays as it is, so that it can be sent again under the same number.
CREATE TABLE outbox (
    message             BIGINT  NOT NULL PRIMARY KEY,
    notification        TEXT    NOT NULL REFERENCES notifications (name) ON DELETE CASCADE,
    notices             TEXT    NOT NULL,
    left_out            BIGINT  NOT NULL,
    made_unix_ms        BIGINT  NOT NULL,
    not_before_unix_ms  BIGINT  NOT NULL,
    attempts            BIGINT  NOT NULL,
    last_error          TEXT,
    state               TEXT    NOT NULL CHECK (state IN ('waiting', 'sent', 'given_up')),
    ended_unix_ms       BIGINT
);
CREATE INDEX outbox_by_state ON outbox (state, notification, message);

-- What a notification said is missing, and has not taken back yet.
CREATE TABLE absences (
    notification        TEXT    NOT NULL REFERENCES notifications (name) ON DELETE CASCADE,
    subject             TEXT    NOT NULL,
    text                TEXT    NOT NULL,
    since_unix_ms       BIGINT  NOT NULL,
    told_unix_ms        BIGINT  NOT NULL,
    PRIMARY KEY (notification, subject)
);

-- Whether the end of a job was looked at. Those that ended before there were notifications tell nobody.
ALTER TABLE jobs ADD COLUMN noticed INTEGER NOT NULL DEFAULT 0;
UPDATE jobs SET noticed = 1 WHERE state NOT IN ('queued', 'running');
CREATE INDEX jobs_to_notice ON jobs (noticed, state);
