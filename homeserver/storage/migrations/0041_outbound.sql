-- Servers that don't have all that is meant for them: up to which position of the journal they have it.
-- A server without a row has everything up to the position of the consumer `federation` in journal_cursors.
CREATE TABLE lagging_servers (
    server_name text PRIMARY KEY,
    sent_position bigint NOT NULL
);

-- The rooms of a server, for whoever was away and is to catch up.
CREATE INDEX memberships_by_server ON memberships ((substring(user_id FROM position(':' IN user_id) + 1)), room_nid);
