-- What a verification looked at, as a JSON document; NULL for every other job.
ALTER TABLE results ADD COLUMN checked TEXT;
