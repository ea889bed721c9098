-- The cold archive: which months of which rooms are in which files of the object store. A row here is what makes a file
-- count: it is written when both objects were read back.
CREATE TABLE archive_months (
    month text PRIMARY KEY,               -- of receipt, UTC: 2025-03
    buckets integer NOT NULL,             -- a room is in bucket room_nid % buckets
    manifest text,                        -- SHA-256 of the manifest in the store; NULL: it has to be written
    stays_hot boolean NOT NULL DEFAULT false -- restored: no policy moves it again
);

CREATE TABLE archive_files (
    month text NOT NULL,
    bucket integer NOT NULL,
    name text NOT NULL,                   -- of the objects, without .parquet and .terms
    is_cold boolean NOT NULL,             -- false: the hot index still has what is in it
    rows bigint NOT NULL,
    first_nid bigint NOT NULL,            -- the least and the greatest number of an event in it
    last_nid bigint NOT NULL,
    upto bigint NOT NULL,                 -- the position of the journal that it was made at, or after
    made_ms bigint NOT NULL,
    rule text NOT NULL,                   -- digest of which rooms were to be in it
    digest text NOT NULL,                 -- over its rows, see the format's page
    parquet_bytes bigint NOT NULL,
    parquet_digest text NOT NULL,         -- SHA-256
    footer_start bigint NOT NULL,
    footer_crc bigint NOT NULL,
    terms_bytes bigint NOT NULL,
    terms_digest text NOT NULL,
    head_start bigint NOT NULL,
    head_end bigint NOT NULL,
    head_crc bigint NOT NULL,
    hidden bytea NOT NULL DEFAULT '',     -- Roaring bitmap (64 bits) of events in it that are shown no more
    hidden_since_ms bigint,               -- since when the first of them is
    damage text,                          -- what is wrong with its objects; NULL: nothing that is known
    PRIMARY KEY (month, bucket)
);

-- Objects to be deleted: those replaced, and those of work that never ended.
CREATE TABLE archive_leftovers (
    name text PRIMARY KEY,
    due_ms bigint NOT NULL
);

-- Rooms with an age of their own; NULL: they stay in the hot index.
CREATE TABLE archive_rooms (
    room_nid bigint PRIMARY KEY,
    after_days integer
);

-- What operators asked for by the command line, done by the server.
CREATE TABLE archive_jobs (
    job_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                   -- run, verify, restore
    month text,                           -- only this one
    is_forced boolean NOT NULL DEFAULT false, -- whatever its age
    asked_ms bigint NOT NULL,
    begun_ms bigint,
    ended_ms bigint,
    what text NOT NULL DEFAULT '',        -- what is under way, and how far
    done bigint NOT NULL DEFAULT 0,
    total bigint NOT NULL DEFAULT 0,
    result bytea                          -- JSON: figures, or {"error": ...}
);

-- When an event came here says which month it is archived with; messages come in that order, so a small index does.
CREATE INDEX events_received ON events USING brin ((coalesce(received_ms, origin_server_ts)));
