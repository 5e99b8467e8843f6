-- Providers of OpenID Connect by which people sign in. `document` is the Server's own, `secret` is sealed by its
-- master key. `alone`: who set by whom it trusts without a second person, and could so speak as its users.
CREATE TABLE identity_providers (
    name                TEXT    NOT NULL PRIMARY KEY,
    document            TEXT    NOT NULL,
    secret              BLOB,
    enabled             INTEGER NOT NULL CHECK (enabled IN (0, 1)),
    alone               TEXT,
    created_unix_ms     BIGINT  NOT NULL
);

-- A user who signs in by a provider has no password. `subject` is what the provider calls that person for good;
-- NULL until the first time. `provider_groups` are those of the last time, from which the grants follow.
ALTER TABLE users ADD COLUMN provider TEXT REFERENCES identity_providers (name);
ALTER TABLE users ADD COLUMN subject TEXT;
ALTER TABLE users ADD COLUMN provider_groups TEXT;
CREATE UNIQUE INDEX users_by_subject ON users (provider, subject);
