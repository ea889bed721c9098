-- Rooms that other servers write to as well: forks, gaps, and events from outside the timeline.

-- A change of a room's current state that isn't the plain effect of the event at that position: what a resolution
-- decided otherwise, or the state that a room was joined with.
CREATE TABLE state_jumps (
    room_nid bigint NOT NULL,
    position bigint NOT NULL,
    key_nid integer NOT NULL,
    event_nid bigint NOT NULL,            -- 0 = no longer set
    PRIMARY KEY (room_nid, position, key_nid)
);
CREATE INDEX state_jumps_by_key ON state_jumps (room_nid, key_nid, position);

-- Events that are cited as prev_events and aren't here: where backfilling goes on.
CREATE TABLE backward_extremities (
    room_nid bigint NOT NULL,
    missing_id text NOT NULL,
    event_nid bigint NOT NULL,            -- the event that cites it
    PRIMARY KEY (room_nid, missing_id, event_nid)
);

-- PDUs that were acknowledged to their server and wait for their room's writer.
CREATE TABLE staged_pdus (
    staged_nid bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    room_id text NOT NULL,
    event_id text NOT NULL,
    origin text NOT NULL,
    received_ms bigint NOT NULL,
    json bytea NOT NULL,
    UNIQUE (room_id, event_id)
);

-- What the inviting server told of a room that this server isn't in.
CREATE TABLE stripped_states (
    event_nid bigint PRIMARY KEY,         -- our member event: invite or knock
    events bytea NOT NULL                 -- a JSON list of stripped state events
);

-- Why an event was rejected or soft-failed.
CREATE TABLE event_refusals (
    event_nid bigint PRIMARY KEY,
    reason text NOT NULL
);

-- Events that came into the timeline after they had been known outside of it.
CREATE INDEX events_promoted ON events (ordering) WHERE ordering > 0 AND ordering <> event_nid;

-- All state events of a room, those outside of the timeline too: what an auth graph is read from.
CREATE INDEX events_states_of_room ON events (room_nid, event_nid) WHERE key_nid IS NOT NULL;
