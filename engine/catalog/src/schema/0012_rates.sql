-- Rate limits: for a host, for a network, or for all. Rates are lines such as 'mon-fri 08:00-18:00 5MB/s'.
CREATE TABLE rates (
    rate                BIGINT  NOT NULL PRIMARY KEY,
    client              BIGINT  REFERENCES clients (client),
    network             TEXT,
    rates               TEXT    NOT NULL,
    created_unix_ms     BIGINT  NOT NULL,
    CHECK (client IS NULL OR network IS NULL)
);
