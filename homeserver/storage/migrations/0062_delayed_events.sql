-- Events that are sent at a later time unless somebody says otherwise before.
CREATE TABLE delayed_events (
    delay_id text PRIMARY KEY,
    user_id text NOT NULL,
    device_id text,
    room_id text NOT NULL,
    type text NOT NULL,
    state_key text,                       -- NULL for a message
    content bytea NOT NULL,
    delay_ms bigint NOT NULL,
    since_ts bigint NOT NULL,             -- when the delay began to run
    txn_key uuid UNIQUE                   -- makes a repeated PUT one event
);
CREATE INDEX delayed_events_due ON delayed_events ((since_ts + delay_ms));
CREATE INDEX delayed_events_by_user ON delayed_events (user_id, since_ts);
