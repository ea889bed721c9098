-- What other programs tell rooms.
CREATE TABLE webhooks (
    webhook_id text PRIMARY KEY,
    room_id text NOT NULL,
    owner text NOT NULL,
    name text NOT NULL,
    source text NOT NULL,
    token_digest bytea NOT NULL,          -- of the secret part of its URL
    signing_secret text,                  -- with which the source signs: needed in clear to check it
    template text,
    created_ts bigint NOT NULL,
    used_ts bigint,
    has_entered boolean NOT NULL          -- whether the account that speaks for webhooks was brought into the room
);
CREATE INDEX webhooks_by_room ON webhooks (room_id);

-- Alerts that are still going on: later news of one replaces its message.
CREATE TABLE webhook_alerts (
    webhook_id text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
    alert_group text NOT NULL,
    event_id text NOT NULL,
    text text NOT NULL,
    html text NOT NULL,
    acknowledged_by text,
    changed_ts bigint NOT NULL,
    PRIMARY KEY (webhook_id, alert_group)
);
CREATE UNIQUE INDEX webhook_alerts_by_event ON webhook_alerts (event_id);

-- What rooms tell other programs.
CREATE TABLE event_webhooks (
    webhook_id text PRIMARY KEY,
    room_id text NOT NULL,
    owner text NOT NULL,                  -- what this user may read is told
    name text NOT NULL,
    url text NOT NULL,
    signing_secret text NOT NULL,
    types text[] NOT NULL,                -- none: all
    created_ts bigint NOT NULL,
    position bigint NOT NULL,             -- up to this place of the timeline all was acknowledged
    delivery bigint NOT NULL DEFAULT 0,
    pending_upto bigint,                  -- where the delivery ends that was sent and isn't acknowledged
    failures integer NOT NULL DEFAULT 0,
    failing_since_ts bigint,
    retry_ts bigint NOT NULL DEFAULT 0,
    is_enabled boolean NOT NULL DEFAULT true
);
CREATE INDEX event_webhooks_by_room ON event_webhooks (room_id);
