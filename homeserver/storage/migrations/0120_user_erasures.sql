-- Users who are to be erased, or were: one that a legal hold keeps waits for its release.
CREATE TABLE user_erasures (
    erasure_id text PRIMARY KEY,
    user_id text NOT NULL,
    options text NOT NULL,                -- JSON
    asked_by text NOT NULL,
    asked_ts bigint NOT NULL,
    reason text NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'begun', 'done')),
    job_id text,
    receipt text                          -- JSON, signed by this server; NULL until it is done
);
CREATE UNIQUE INDEX user_erasures_open ON user_erasures (user_id) WHERE state <> 'done';
CREATE INDEX user_erasures_by_time ON user_erasures (asked_ts, erasure_id);
