-- Drives and datastores that were removed. Their rows stay: jobs of the past name them, and the number of a drive is
-- never given to another datastore.
ALTER TABLE drives ADD COLUMN removed_unix_ms BIGINT;
ALTER TABLE datastores ADD COLUMN removed_unix_ms BIGINT;
