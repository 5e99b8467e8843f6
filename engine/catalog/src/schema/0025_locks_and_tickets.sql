-- Locks that were extended after the commit, as the device of each datastore holds them by its own word:
-- it deletes nothing before, whatever the server says. What a backup's own row locks for longer is owed
-- to the device. 'trouble': why it does not hold it yet.
CREATE TABLE held_locks (
    saveset             BLOB    NOT NULL,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    until_unix_s        BIGINT  NOT NULL CHECK (until_unix_s >= 0),
    trouble             TEXT,
    PRIMARY KEY (saveset, store)
);

-- Tickets of a job beside the one in its row, such as those of other copies that a restore may go on with: written
-- down before a device hears of them, and forgotten when it was told that they are withdrawn. 'client' is the device.
CREATE TABLE tickets (
    transfer            BLOB    NOT NULL PRIMARY KEY,
    job                 BIGINT  NOT NULL REFERENCES jobs (job) ON DELETE CASCADE,
    client              BIGINT  NOT NULL REFERENCES clients (client)
);
CREATE INDEX tickets_by_job ON tickets (job);
