-- Positions of the journal, and the small integers that state is made of, are handed out in blocks.
CREATE SEQUENCE journal_blocks MINVALUE 1;
CREATE SEQUENCE state_key_blocks MINVALUE 1;

-- How far each durable consumer of the journal has come.
CREATE TABLE journal_cursors (
    consumer text PRIMARY KEY,
    position bigint NOT NULL
);

CREATE TABLE rooms (
    room_nid bigint PRIMARY KEY,          -- the journal position at which the room came to be known here
    room_id text NOT NULL UNIQUE,
    version text NOT NULL,
    creator text NOT NULL,
    is_published boolean NOT NULL DEFAULT false,  -- in the room directory
    -- NULL while the newest event of the timeline is the only one (the usual case, which so costs no update).
    forward_extremities bigint[],
    -- The state after the newest event where that can't be read from the event (forks); NULL otherwise.
    state_nid bigint
);

-- (type, state_key) pairs, which states refer to by number.
CREATE TABLE state_keys (
    key_nid integer PRIMARY KEY,
    type text NOT NULL,
    state_key text NOT NULL,
    UNIQUE (type, state_key)
);

-- A state is a delta against `base`: the one whose index has the lowest set bit cleared (skip deltas).
CREATE TABLE states (
    state_nid bigint PRIMARY KEY,         -- the position of the event that made it, or one of its own
    index integer NOT NULL,               -- how many states came before on its line
    base bigint,
    delta bytea NOT NULL                  -- pairs (key_nid u32, event_nid u64; 0 = no longer set), little-endian
);

CREATE TABLE events (
    event_nid bigint PRIMARY KEY,         -- the event's position in the journal
    room_nid bigint NOT NULL,
    ordering bigint,                      -- place in the room's timeline: event_nid; below 0 if backfilled; NULL if outside
    depth bigint NOT NULL,
    origin_server_ts bigint NOT NULL,
    state_nid bigint,                     -- the state before the event; NULL for the first of a room
    replaces bigint,                      -- for a state event: the event whose place in the state it took
    redacted_by bigint,                   -- the m.room.redaction that applies to it
    key_nid integer,                      -- for a state event: its (type, state_key)
    flags smallint NOT NULL DEFAULT 0,    -- 1 rejected, 2 soft-failed
    event_id text NOT NULL,
    sender text NOT NULL,
    device_id text,                       -- the sender's device and transaction id, shown to that device alone
    txn_id text,
    txn_key uuid,                         -- digest of sender, device, path and transaction id: makes a repeated PUT one event
    json bytea NOT NULL                   -- the PDU, canonical
);
CREATE UNIQUE INDEX events_event_id ON events (event_id);
CREATE UNIQUE INDEX events_timeline ON events (room_nid, ordering) WHERE ordering IS NOT NULL;
CREATE INDEX events_state_history ON events (room_nid, key_nid, ordering) WHERE key_nid IS NOT NULL AND ordering IS NOT NULL;
CREATE UNIQUE INDEX events_txn_key ON events (txn_key) WHERE txn_key IS NOT NULL;

-- The current membership of each user in each room that this server knows.
CREATE TABLE memberships (
    room_nid bigint NOT NULL,
    user_id text NOT NULL,
    membership text NOT NULL,
    event_nid bigint NOT NULL,
    is_forgotten boolean NOT NULL DEFAULT false,
    PRIMARY KEY (room_nid, user_id)
);
CREATE INDEX memberships_by_user ON memberships (user_id, membership);

CREATE TABLE event_relations (
    event_nid bigint PRIMARY KEY,
    room_nid bigint NOT NULL,
    relates_to text NOT NULL,             -- event id: it may be unknown here
    rel_type text NOT NULL,
    type text NOT NULL,
    sender text NOT NULL,
    aggregation_key text
);
CREATE INDEX event_relations_by_target ON event_relations (relates_to, rel_type, event_nid);

CREATE TABLE room_aliases (
    alias text PRIMARY KEY,
    room_id text NOT NULL,
    creator text NOT NULL
);
CREATE INDEX room_aliases_by_room ON room_aliases (room_id);
