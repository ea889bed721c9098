-- Policy lists that are written from here, and those that apply in some rooms alone.
ALTER TABLE spam_policy_lists
    ADD COLUMN is_own boolean NOT NULL DEFAULT false,
    ADD COLUMN is_everywhere boolean NOT NULL DEFAULT true;

-- Rooms that policy lists are applied to together: as server ACLs, and as bans of those who are in.
CREATE TABLE spam_room_groups (
    name text PRIMARY KEY,
    rooms text[] NOT NULL,
    lists text[] NOT NULL,                -- rooms of policy lists
    bans_members boolean NOT NULL,
    changed_ts bigint NOT NULL
);

-- What policy lists put on a room's server ACL: the rest of it is the room's own, and stays.
CREATE TABLE spam_applied_acls (
    room_id text PRIMARY KEY,
    denied text[] NOT NULL
);

-- Rooms that are locked while a wave lasts, with what their state said before.
CREATE TABLE spam_raids (
    room_id text PRIMARY KEY,
    how text NOT NULL,                    -- invite_only or quiet
    because text NOT NULL,                -- the rule, or who locked it
    since_ts bigint NOT NULL,
    until_ts bigint NOT NULL,
    before text NOT NULL,                 -- content of the event that was replaced, as JSON
    during text NOT NULL                  -- and of the one that replaced it
);

-- Calls that rules make to other services, until one is answered or there were too many.
CREATE TABLE spam_webhook_calls (
    call_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    url text NOT NULL,
    body text NOT NULL,
    tries integer NOT NULL DEFAULT 0,
    next_ts bigint NOT NULL
);
CREATE INDEX spam_webhook_calls_by_time ON spam_webhook_calls (next_ts);
