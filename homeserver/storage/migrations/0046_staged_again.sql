-- An event whose past couldn't be had yet stays staged, and is tried again.
ALTER TABLE staged_pdus ADD COLUMN tries smallint NOT NULL DEFAULT 0;
ALTER TABLE staged_pdus ADD COLUMN due_ms bigint NOT NULL DEFAULT 0;
CREATE INDEX staged_pdus_later ON staged_pdus (due_ms) WHERE due_ms > 0;
