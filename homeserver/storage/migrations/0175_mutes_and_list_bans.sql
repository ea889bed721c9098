-- People whom rules muted: their level before (NULL: the room's default), and until when (NULL: for good).
CREATE TABLE spam_mutes (
    room_id text NOT NULL,
    user_id text NOT NULL,
    level_before bigint,
    until_ts bigint,
    because text NOT NULL,                -- the rule
    PRIMARY KEY (room_id, user_id)
);
CREATE INDEX spam_mutes_by_time ON spam_mutes (until_ts) WHERE until_ts IS NOT NULL;

-- Bans that policy lists made: they end when no list of the room says so any more. A ban by hand isn't here.
CREATE TABLE spam_list_bans (
    room_id text NOT NULL,
    user_id text NOT NULL,
    made_ts bigint NOT NULL,              -- written before the ban is sent
    event_id text NOT NULL DEFAULT '',    -- of the ban; empty until it is known
    PRIMARY KEY (room_id, user_id)
);
