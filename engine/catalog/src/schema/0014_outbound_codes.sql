-- 1: a code for a host that calls (access mode OUTBOUND), and for no other.
ALTER TABLE join_codes ADD COLUMN outbound INTEGER NOT NULL DEFAULT 0;
