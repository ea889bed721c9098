-- The index of messages is no table any more; when an event came here says which month of it belongs to which index.
DROP TABLE search_messages;
DELETE FROM journal_cursors WHERE consumer = 'search';
ALTER TABLE events ADD COLUMN received_ms bigint; -- none of those that came before this column: then origin_server_ts
ALTER TABLE events ALTER COLUMN received_ms SET DEFAULT (extract(epoch FROM clock_timestamp()) * 1000)::bigint;
