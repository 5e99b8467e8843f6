CREATE TABLE datastores (
    store               BLOB    NOT NULL PRIMARY KEY,
    name                TEXT    NOT NULL UNIQUE,
    device              BIGINT  NOT NULL REFERENCES clients (client),
    path                BLOB    NOT NULL,
    state               TEXT    NOT NULL CHECK (state IN ('active', 'detached')),
    created_unix_ms     BIGINT  NOT NULL
);

-- A drive's number is the n of its port: it is pinned for ever.
CREATE TABLE drives (
    drive               INTEGER NOT NULL PRIMARY KEY CHECK (drive BETWEEN 0 AND 9999),
    store               BLOB    NOT NULL REFERENCES datastores (store),
    jobs_max            INTEGER NOT NULL CHECK (jobs_max BETWEEN 1 AND 1000)
);

-- One domain per datastore and owner. An owner is missing, and so is the key, where a domain was
-- found in a datastore that this catalog knew nothing of.
CREATE TABLE domains (
    domain              BLOB    NOT NULL PRIMARY KEY,
    store               BLOB    NOT NULL REFERENCES datastores (store),
    owner               BIGINT  REFERENCES clients (client),
    key_held_by         TEXT    NOT NULL CHECK (key_held_by IN ('server', 'client', 'nobody')),
    sealed_key          BLOB,
    slots               BLOB,
    created_unix_ms     BIGINT  NOT NULL,
    UNIQUE (store, owner),
    CHECK ((key_held_by = 'server') = (sealed_key IS NOT NULL))
);
