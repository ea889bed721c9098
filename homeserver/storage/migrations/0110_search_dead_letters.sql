-- Events that an index of the search won't take, and why. The reason never holds a word of the event.
CREATE TABLE search_dead_letters (
    consumer text NOT NULL,               -- the indexer, as in journal_cursors
    event_id text NOT NULL,
    reason text NOT NULL,
    noted_ms bigint NOT NULL,
    PRIMARY KEY (consumer, event_id)
);
