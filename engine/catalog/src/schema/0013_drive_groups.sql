-- Names for drives, of one or of several datastores. A task that names a group uses any of its drives.
CREATE TABLE drive_groups (
    name             TEXT   NOT NULL PRIMARY KEY,
    created_unix_ms  BIGINT NOT NULL
);

-- A drive is in one group at most.
ALTER TABLE drives ADD COLUMN drive_group TEXT REFERENCES drive_groups (name);

-- Then `store` is the datastore into which its last job went.
ALTER TABLE tasks ADD COLUMN drive_group TEXT REFERENCES drive_groups (name);
