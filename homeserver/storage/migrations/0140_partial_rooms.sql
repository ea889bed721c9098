-- Rooms that were joined before all of their members were known: what came since stands on a provisional state.
CREATE TABLE partial_rooms (
    room_nid bigint PRIMARY KEY,
    join_nid bigint NOT NULL,             -- the event by which this server came in
    state_nid bigint NOT NULL,            -- the state before it, without the members that were left out
    servers text[] NOT NULL,              -- that were in the room then; first the one that let us in
    whole_at bigint                       -- since when all is known; NULL until then
);
CREATE INDEX partial_rooms_unfinished ON partial_rooms (room_nid) WHERE whole_at IS NULL;

-- States that other servers told of for events across a gap meanwhile: the states before those events are made anew
-- from them.
CREATE TABLE told_states (
    room_nid bigint NOT NULL,
    event_nid bigint NOT NULL,
    state_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, event_nid, state_nid)
);
