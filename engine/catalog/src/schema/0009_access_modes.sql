-- How the server steers a client: exactly one mode, and never another one when it fails. The port
-- of row 'ctrl' is the registry's where none is set.
ALTER TABLE clients ADD COLUMN access_mode TEXT NOT NULL DEFAULT 'smssh'
    CHECK (access_mode IN ('smssh', 'ctrl', 'outbound'));
ALTER TABLE clients ADD COLUMN ctrl_port INTEGER;
