-- Servers whose keys couldn't be had when the state before our join was checked: what they signed is left out of the
-- state, until their keys come.
ALTER TABLE partial_rooms ADD COLUMN awaits_keys boolean NOT NULL DEFAULT false;
CREATE TABLE awaited_keys (
    room_nid bigint NOT NULL,
    server_name text NOT NULL,
    pdu bytea NOT NULL,                   -- an event of that state that it signed: whether its key has come is tried on it
    tries smallint NOT NULL DEFAULT 0,
    due_ms bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (room_nid, server_name)
);
CREATE INDEX awaited_keys_due ON awaited_keys (due_ms);
