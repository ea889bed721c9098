-- Events that are told for sure for at most an hour, and from which place in the journal on they are.
CREATE TABLE sticky_events (
    event_nid bigint PRIMARY KEY REFERENCES events ON DELETE CASCADE,
    room_nid bigint NOT NULL,
    sender text NOT NULL,
    place bigint,                         -- NULL while it isn't to be told: soft-failed, or only just put back
    expires_ts bigint NOT NULL
);
CREATE INDEX sticky_events_told ON sticky_events (room_nid, place) WHERE place IS NOT NULL;
CREATE INDEX sticky_events_waiting ON sticky_events (room_nid) WHERE place IS NULL;
CREATE INDEX sticky_events_expired ON sticky_events (expires_ts);

ALTER TABLE delayed_events ADD COLUMN sticky_ms bigint;
