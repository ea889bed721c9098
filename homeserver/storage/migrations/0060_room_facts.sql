-- What lists of rooms are sorted and filtered by: written by a consumer of the journal, a moment after the events.
CREATE TABLE room_facts (
    room_nid bigint PRIMARY KEY,
    newest bigint NOT NULL,               -- position of the newest event of the timeline
    bump bigint NOT NULL,                 -- of the newest that people would call activity; 0 if none
    room_type text,                       -- of the create event; NULL for a usual room
    is_encrypted boolean NOT NULL
);
