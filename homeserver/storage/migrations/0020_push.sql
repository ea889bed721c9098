-- When a push key was set last, and how its gateway fares: it is left alone until `retry_ts`.
ALTER TABLE pushers
    ADD COLUMN changed_ts bigint NOT NULL DEFAULT 0,
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN retry_ts bigint NOT NULL DEFAULT 0;

-- What is still to be delivered: written with the cursor of who decides it, so only what isn't delivered by then.
CREATE TABLE pushes (
    user_id text NOT NULL,
    app_id text NOT NULL,
    pushkey text NOT NULL,
    event_nid bigint NOT NULL,
    room_id text NOT NULL,
    thread_id text NOT NULL,
    tweaks bytea NOT NULL,                -- JSON
    decided_ts bigint NOT NULL,
    PRIMARY KEY (app_id, pushkey, user_id, event_nid)
);
