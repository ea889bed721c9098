-- The index of messages by generations: one answers, the next may be built beside it. None here: number 0 answers.
CREATE TABLE search_generations (
    engine text NOT NULL,
    generation integer NOT NULL,
    state text NOT NULL CHECK (state IN ('wanted', 'building', 'live', 'old')),
    upto bigint NOT NULL DEFAULT 0,       -- the journal position up to which the past is read into one that is built
    changed_ms bigint NOT NULL,
    PRIMARY KEY (engine, generation)
);
CREATE UNIQUE INDEX search_generations_state ON search_generations (engine, state) WHERE state <> 'old';
CREATE UNIQUE INDEX search_generations_next ON search_generations (engine) WHERE state IN ('wanted', 'building');

-- What `hansa search verify` found wrong in the index: to be written again, or, with a number alone, taken out.
CREATE TABLE search_repairs (
    engine text NOT NULL,
    event_nid bigint NOT NULL,
    room_nid bigint NOT NULL,
    event_id text NOT NULL,
    is_gone boolean NOT NULL,             -- the database doesn't have it, or it isn't found any more
    PRIMARY KEY (engine, event_nid)
);
