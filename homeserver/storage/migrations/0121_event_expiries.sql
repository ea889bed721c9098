-- Events that are to be redacted by themselves at a time, or some time after somebody read them.
CREATE TABLE event_expiries (
    event_nid bigint PRIMARY KEY REFERENCES events ON DELETE CASCADE,
    room_id text NOT NULL,
    place bigint NOT NULL,                -- in the room's timeline
    sender text NOT NULL,
    expires_ts bigint,                    -- NULL until somebody else has read it
    after_read_ms bigint
);
CREATE INDEX event_expiries_due ON event_expiries (expires_ts) WHERE expires_ts IS NOT NULL;
CREATE INDEX event_expiries_unread ON event_expiries (room_id, place) WHERE expires_ts IS NULL;
