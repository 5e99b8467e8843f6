-- Data addresses of a device's host, in order of preference.
CREATE TABLE interfaces (
    client      BIGINT  NOT NULL REFERENCES clients (client),
    position    INTEGER NOT NULL,
    url         TEXT    NOT NULL,
    PRIMARY KEY (client, position),
    UNIQUE (client, url)
);

-- By which of them the data of a client goes, in order of preference: a URL, or only a protocol.
CREATE TABLE client_choices (
    client      BIGINT  NOT NULL REFERENCES clients (client),
    position    INTEGER NOT NULL,
    choice      TEXT    NOT NULL,
    PRIMARY KEY (client, position)
);
