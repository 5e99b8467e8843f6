-- Media pools: what savesets are assigned to, and the policy that says how long they live. A pool may
-- stand for a datastore, for one drive of it, or for a drive group. Pool 'default' is there without a
-- row, and keeps everything: what has no pool is in it.
CREATE TABLE pools (
    name                TEXT    NOT NULL PRIMARY KEY,
    policy              TEXT    NOT NULL,
    store               BLOB    REFERENCES datastores (store),
    drive               INTEGER REFERENCES drives (drive),
    drive_group         TEXT    REFERENCES drive_groups (name),
    created_unix_ms     BIGINT  NOT NULL,
    CHECK (drive_group IS NULL OR (store IS NULL AND drive IS NULL)),
    CHECK (drive IS NULL OR store IS NOT NULL)
);
ALTER TABLE tasks ADD COLUMN pool TEXT REFERENCES pools (name);
-- Of a backup: the pool of its saveset.
ALTER TABLE jobs ADD COLUMN pool TEXT;
CREATE INDEX jobs_by_saveset ON jobs (saveset);

-- One row for each backup, whatever number of copies there are: what bears on how long it lives, and
-- stands in no manifest. 'number' is the server's count of backups. 'found' 1: the server found it in
-- a datastore, and the stamp is that of the device that committed it.
CREATE TABLE backups (
    saveset             BLOB    NOT NULL PRIMARY KEY,
    number              BIGINT  NOT NULL UNIQUE,
    stamped_unix_ms     BIGINT  NOT NULL,
    found               INTEGER NOT NULL CHECK (found IN (0, 1)),
    made_for            TEXT    NOT NULL CHECK (made_for IN ('server', 'owner')),
    pool                TEXT    REFERENCES pools (name),
    eol_unix_s          BIGINT,
    lock_until_unix_s   BIGINT  NOT NULL,
    hold_by             TEXT,
    hold_why            TEXT,
    hold_since_unix_ms  BIGINT,
    CHECK ((hold_by IS NULL) = (hold_why IS NULL) AND (hold_by IS NULL) = (hold_since_unix_ms IS NULL))
);
CREATE INDEX backups_by_pool ON backups (pool);
INSERT INTO backups (saveset, number, stamped_unix_ms, found, made_for, lock_until_unix_s)
    SELECT saveset, ROW_NUMBER() OVER (ORDER BY committed_unix_ns, store, sequence),
        committed_unix_ns / 1000000, 1, 'server', 0
    FROM savesets;
INSERT INTO counters (name, last_value)
    SELECT 'backup', (SELECT COUNT(*) FROM backups) WHERE EXISTS (SELECT 1 FROM backups);

-- Acts that need a second person, with their exact content.
CREATE TABLE approvals (
    approval            BIGINT  NOT NULL PRIMARY KEY,
    verb                TEXT    NOT NULL,
    request             TEXT    NOT NULL,
    about               TEXT    NOT NULL,
    digest              TEXT    NOT NULL,
    asked_by            TEXT    NOT NULL,
    asked_unix_ms       BIGINT  NOT NULL,
    expires_unix_ms     BIGINT  NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('open', 'approved', 'rejected')),
    decided_by          TEXT,
    decided_unix_ms     BIGINT,
    note                TEXT    NOT NULL,
    CHECK ((state = 'open') = (decided_by IS NULL) AND (state = 'open') = (decided_unix_ms IS NULL))
);

-- Savesets, each in one datastore, that are to be deleted or were: decided, then told to the device,
-- then done. A row that is done is history.
CREATE TABLE deletions (
    saveset             BLOB    NOT NULL,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    why                 TEXT    NOT NULL,
    asked_by            TEXT    NOT NULL,
    approval            BIGINT  REFERENCES approvals (approval),
    decided_unix_ms     BIGINT  NOT NULL,
    told_unix_ms        BIGINT,
    done_unix_ms        BIGINT,
    trouble             TEXT,
    PRIMARY KEY (saveset, store),
    CHECK (done_unix_ms IS NULL OR told_unix_ms IS NOT NULL)
);
