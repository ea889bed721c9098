-- What users want to hear of: a term as they type it into a search.
CREATE TABLE saved_searches (
    search_id text PRIMARY KEY,
    user_id text NOT NULL,
    name text NOT NULL,
    term text NOT NULL,
    is_paused boolean NOT NULL DEFAULT false,
    since bigint NOT NULL,                -- of events with greater numbers alone
    created_ms bigint NOT NULL
);
CREATE INDEX saved_searches_by_user ON saved_searches (user_id);

-- The events that their owners are told of, for some weeks: nobody is told twice.
CREATE TABLE saved_search_matches (
    search_id text NOT NULL REFERENCES saved_searches ON DELETE CASCADE,
    event_nid bigint NOT NULL,
    found_ms bigint NOT NULL,
    is_told boolean NOT NULL DEFAULT false,
    PRIMARY KEY (search_id, event_nid)
);
CREATE INDEX saved_search_matches_to_tell ON saved_search_matches (search_id, event_nid) WHERE NOT is_told;
CREATE INDEX saved_search_matches_by_event ON saved_search_matches (event_nid);
CREATE INDEX saved_search_matches_by_time ON saved_search_matches (found_ms);
