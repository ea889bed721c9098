-- How long messages of a room are kept (m.room.retention): NULL unknown, 0 for ever.
ALTER TABLE room_facts ADD COLUMN retention_ms bigint;
-- Up to this place of its timeline a room's messages have expired.
ALTER TABLE room_facts ADD COLUMN expired_upto bigint NOT NULL DEFAULT -4611686018427387904;
CREATE INDEX room_facts_retention ON room_facts (room_nid) WHERE retention_ms > 0;
