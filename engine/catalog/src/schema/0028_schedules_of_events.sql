-- 1: the schedule was given together with the event of its name, and goes with it. What an event has under its own
-- name, and no other one runs by, counts as given so.
ALTER TABLE schedules ADD COLUMN of_event INTEGER NOT NULL DEFAULT 0;
UPDATE schedules SET of_event = 1
    WHERE EXISTS (SELECT 1 FROM events WHERE events.name = schedules.name AND events.schedule = schedules.name)
        AND NOT EXISTS (SELECT 1 FROM events WHERE events.schedule = schedules.name AND events.name <> schedules.name);
