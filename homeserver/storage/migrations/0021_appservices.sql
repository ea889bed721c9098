-- How far each application service has come, and the transaction that it hasn't acknowledged yet: it is sent again
-- byte by byte under the same number, also after a crash.
CREATE TABLE appservice_queues (
    appservice_id text PRIMARY KEY,
    position bigint NOT NULL,             -- all up to here was acknowledged
    number bigint NOT NULL DEFAULT 0,     -- of the last transaction made
    pending bytea,                        -- its body (JSON), until it is acknowledged
    pending_upto bigint,
    failures integer NOT NULL DEFAULT 0,
    retry_ts bigint NOT NULL DEFAULT 0
);

-- The rooms that application services list for the networks they reach.
CREATE TABLE appservice_rooms (
    appservice_id text NOT NULL,
    network_id text NOT NULL,
    room_id text NOT NULL,
    PRIMARY KEY (appservice_id, network_id, room_id)
);
