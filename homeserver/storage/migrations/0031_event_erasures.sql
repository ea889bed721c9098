-- Redacted events whose content is still in their rows.
CREATE TABLE event_erasures (
    event_nid bigint PRIMARY KEY REFERENCES events ON DELETE CASCADE,
    redacted_ts bigint NOT NULL DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint
);
CREATE INDEX event_erasures_by_time ON event_erasures (redacted_ts);
INSERT INTO event_erasures (event_nid) SELECT event_nid FROM events WHERE redacted_by IS NOT NULL;
