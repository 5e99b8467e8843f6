-- Migrations: savesets of a datastore that are copied by the way of a replication, and may leave their
-- first place then. 'levels' is a JSON list; empty: any.
CREATE TABLE migrations (
    name                TEXT    NOT NULL PRIMARY KEY,
    replication         TEXT    NOT NULL REFERENCES replications (name),
    client_name         TEXT,
    task_name           TEXT,
    from_pool           TEXT,
    levels              TEXT    NOT NULL,
    older_than_days     INTEGER NOT NULL CHECK (older_than_days >= 0),
    keep_originals      INTEGER NOT NULL CHECK (keep_originals IN (0, 1)),
    pool                TEXT,
    eol_days            INTEGER NOT NULL CHECK (eol_days >= 0),
    created_unix_ms     BIGINT  NOT NULL
);

-- How long a copy lives, where that is not as its backup says. Written before the copy is made, and not touched
-- when the rows of copies are made again from manifests. 'pool': also 'default', which may have no row.
CREATE TABLE copy_lives (
    saveset             BLOB    NOT NULL,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    pool                TEXT,
    eol_unix_s          BIGINT,
    migration           TEXT    NOT NULL,
    PRIMARY KEY (saveset, store)
);
CREATE INDEX copy_lives_by_pool ON copy_lives (pool);

-- Of each listing of a copy: a number of its own, and the last job that was queued before. A check proves a copy if it
-- was told that number before it began, or is a verification that was queued later: no clock is asked.
ALTER TABLE copies ADD COLUMN number BIGINT NOT NULL DEFAULT 0;
ALTER TABLE copies ADD COLUMN after_job BIGINT NOT NULL DEFAULT 0;
UPDATE copies SET after_job = COALESCE((SELECT last_value FROM counters WHERE name = 'job'), 0);

-- What the check of a copy by a migration found. 'copy' is the number of the copy before the check began.
CREATE TABLE copy_checks (
    saveset             BLOB    NOT NULL,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    copy                BIGINT  NOT NULL,
    job                 BIGINT  NOT NULL,
    checked_unix_ms     BIGINT  NOT NULL,
    whole               INTEGER NOT NULL CHECK (whole IN (0, 1)),
    PRIMARY KEY (saveset, store)
);

-- Of a deletion by a migration: the datastore with the copy that lets it go.
ALTER TABLE deletions ADD COLUMN copy_in BLOB;
