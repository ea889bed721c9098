-- Long work that operators began: taken up again after a restart.
CREATE TABLE admin_jobs (
    job_id text PRIMARY KEY,
    kind text NOT NULL,
    target text NOT NULL,                 -- what it works on; two jobs never work on the same at once
    arguments text NOT NULL,              -- JSON
    state text NOT NULL CHECK (state IN ('scheduled', 'active', 'complete', 'failed', 'cancelled')),
    progress text NOT NULL DEFAULT '{}',  -- JSON: how far it is, and what it needs to go on from there
    error text,
    started_by text NOT NULL,
    created_ts bigint NOT NULL,
    changed_ts bigint NOT NULL,
    tries smallint NOT NULL DEFAULT 0     -- how often it was begun
);
CREATE INDEX admin_jobs_by_target ON admin_jobs (target, created_ts);
CREATE INDEX admin_jobs_by_time ON admin_jobs (created_ts, job_id);
CREATE INDEX admin_jobs_open ON admin_jobs (created_ts) WHERE state IN ('scheduled', 'active');

-- What operators switched off or on.
CREATE TABLE admin_switches (
    name text PRIMARY KEY,
    is_on boolean NOT NULL
);

-- Rooms that nobody here may join or be invited to. The server needn't know them.
CREATE TABLE blocked_rooms (
    room_id text PRIMARY KEY,
    blocked_by text NOT NULL,
    blocked_ts bigint NOT NULL
);

-- Rooms of which only rows are left that are being deleted.
CREATE TABLE purged_rooms (
    room_nid bigint PRIMARY KEY,
    room_id text NOT NULL
);

-- What lists of all rooms are sorted and filtered by. Follows the journal.
CREATE TABLE room_overviews (
    room_nid bigint PRIMARY KEY,
    room_id text NOT NULL,
    name text,
    topic text,
    avatar text,
    canonical_alias text,
    room_type text,
    creator text NOT NULL,
    version text NOT NULL,
    encryption text,
    join_rules text,
    guest_access text,
    history_visibility text,
    federatable boolean NOT NULL,
    tombstoned boolean NOT NULL,
    joined_members integer NOT NULL,
    joined_local_members integer NOT NULL,
    invited_members integer NOT NULL,
    state_events integer NOT NULL
);
CREATE UNIQUE INDEX room_overviews_by_id ON room_overviews (room_id);
CREATE INDEX room_overviews_by_name ON room_overviews (lower(coalesce(name, canonical_alias, room_id)), room_id);
CREATE INDEX room_overviews_by_members ON room_overviews (joined_members, room_id);
CREATE INDEX room_overviews_by_state ON room_overviews (state_events, room_id);

-- Media that nobody may quarantine by accident, and who barred what when.
ALTER TABLE media ADD COLUMN is_protected boolean NOT NULL DEFAULT false;
ALTER TABLE media_files ADD COLUMN quarantined_by text;
CREATE TABLE media_quarantine_changes (
    change_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    changed_ts bigint NOT NULL,
    origin text NOT NULL,
    media_id text NOT NULL,
    is_quarantined boolean NOT NULL,
    changed_by text NOT NULL
);
