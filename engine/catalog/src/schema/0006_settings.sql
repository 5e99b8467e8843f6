-- What the server keeps of itself: its name, sealed keys, dates of what was proven.
CREATE TABLE settings (
    name                TEXT    NOT NULL PRIMARY KEY,
    value               BLOB    NOT NULL
);
