-- Messages to devices of users on other servers, until their server has them. One EDU each.
CREATE TABLE outgoing_to_device (
    server_name text NOT NULL,
    position bigint NOT NULL,             -- of the request that sent it
    number integer NOT NULL,
    content bytea NOT NULL,               -- the content of the m.direct_to_device, JSON
    PRIMARY KEY (server_name, position, number)
);

-- The keys of users on other servers who share a room with users here, as their server last told.
CREATE TABLE remote_device_lists (
    user_id text PRIMARY KEY,
    version bigint NOT NULL,              -- grows with each change that their server announces
    fetched_version bigint,               -- the version when `keys` was asked for: older than `version` = ask again
    keys bytea                            -- JSON: devices, master_key, self_signing_key
);

-- Messages to devices that came from other servers, so that each is taken once.
CREATE TABLE incoming_to_device (
    origin text NOT NULL,
    message_id text NOT NULL,
    received_ms bigint NOT NULL,
    PRIMARY KEY (origin, message_id)
);
CREATE INDEX incoming_to_device_by_time ON incoming_to_device (received_ms);
