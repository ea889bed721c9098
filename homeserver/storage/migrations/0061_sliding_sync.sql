-- Connections of simplified sliding sync, and what has been sent on each.
CREATE TABLE sliding_connections (
    connection_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    conn_id text NOT NULL,
    used_ts bigint NOT NULL,              -- when it was last taken into memory
    UNIQUE (user_id, device_id, conn_id)
);
CREATE INDEX sliding_connections_by_use ON sliding_connections (used_ts);

-- What is sent after an answer, as a change of what was sent before it (`parent`); NULL: the whole of it.
CREATE TABLE sliding_states (
    connection_nid bigint NOT NULL REFERENCES sliding_connections ON DELETE CASCADE,
    number integer NOT NULL,
    parent integer,
    data bytea NOT NULL,
    PRIMARY KEY (connection_nid, number)
);
