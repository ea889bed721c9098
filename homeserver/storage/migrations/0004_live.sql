-- Up to where each user has read: public and private receipts, and the read marker. One row a (user, kind, thread).
CREATE TABLE receipts (
    room_id text NOT NULL,
    user_id text NOT NULL,
    receipt_type text NOT NULL,           -- m.read, m.read.private, m.fully_read
    thread_id text NOT NULL,              -- '' for an unthreaded receipt, 'main', or the thread's root
    event_id text NOT NULL,
    event_ordering bigint NOT NULL,       -- the event's place in the room's timeline
    ts bigint NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (room_id, user_id, receipt_type, thread_id)
);
CREATE INDEX receipts_by_room ON receipts (room_id, position);
CREATE INDEX receipts_by_user ON receipts (user_id, position);

-- What users say of themselves. Who is online is known in memory only.
CREATE TABLE presence (
    user_id text PRIMARY KEY,
    status_msg text,
    last_active_ms bigint NOT NULL
);

-- Push rules as their difference from the defaults. A user without a row has the defaults.
CREATE TABLE push_rules (
    user_id text PRIMARY KEY,
    changes bytea NOT NULL,               -- JSON
    position bigint NOT NULL,             -- of the newest change
    since bigint NOT NULL                 -- of the first one: from here on the user's events are counted apart
);

CREATE TABLE pushers (
    user_id text NOT NULL,
    app_id text NOT NULL,
    pushkey text NOT NULL,
    device_id text,
    description bytea NOT NULL,           -- JSON: kind, names, lang, profile_tag, data
    PRIMARY KEY (app_id, pushkey, user_id)
);
CREATE INDEX pushers_by_user ON pushers (user_id);

-- The places in a room's timeline that notified: those that notified everyone (user_id ''), and those of one user.
-- So a message costs one number for its room, however many members read it.
CREATE TABLE unread_pages (
    room_nid bigint NOT NULL,
    user_id text NOT NULL,
    thread_id text NOT NULL,              -- 'main' or the thread's root
    is_highlight boolean NOT NULL,
    position_last bigint NOT NULL,
    positions bytea NOT NULL,             -- ascending, 8 bytes each, little-endian
    PRIMARY KEY (room_nid, user_id, thread_id, is_highlight, position_last)
);

-- Up to where users have read by having sent something themselves.
CREATE TABLE unread_marks (
    room_nid bigint NOT NULL,
    user_id text NOT NULL,
    thread_id text NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (room_nid, user_id, thread_id)
);
