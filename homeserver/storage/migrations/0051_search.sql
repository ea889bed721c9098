-- What messages say, for searching: derived from the events, and may be emptied (with its cursor) at any time.
CREATE TABLE search_messages (
    event_nid bigint PRIMARY KEY,         -- the event that is found
    room_nid bigint NOT NULL,
    source_nid bigint NOT NULL,           -- the event that says it: the found one, or its latest edit
    key text NOT NULL,                    -- content.body, content.name or content.topic
    tokens text[] NOT NULL                -- the words, and `!` with the room's number
);
CREATE INDEX search_messages_tokens ON search_messages USING gin (tokens);
