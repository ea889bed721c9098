-- All that is said against one user or room, until somebody closes it.
CREATE TABLE cases (
    case_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('user', 'room')),
    entity text NOT NULL,                 -- the id of the user or room
    is_open boolean NOT NULL DEFAULT true,
    because text NOT NULL,                -- what opened it: report, appeal, held, hits, refusal
    assignee text,
    opened_ts bigint NOT NULL,
    changed_ts bigint NOT NULL,           -- when something was said last
    closed_ts bigint,
    closed_by text,
    outcome text,                         -- acted, nothing, wrong
    reply text                            -- what the reporters were told
);
CREATE UNIQUE INDEX cases_open ON cases (kind, entity) WHERE is_open;
CREATE INDEX cases_by_entity ON cases (entity, closed_ts);
CREATE INDEX cases_by_time ON cases (is_open, changed_ts, case_id);

CREATE TABLE case_notes (
    note_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    case_id bigint NOT NULL REFERENCES cases ON DELETE CASCADE,
    author text NOT NULL,
    text text NOT NULL,
    written_ts bigint NOT NULL
);
CREATE INDEX case_notes_by_case ON case_notes (case_id, note_id);

-- Events as they were when they were reported: redacting them later doesn't take them from here.
CREATE TABLE case_evidence (
    case_id bigint NOT NULL REFERENCES cases ON DELETE CASCADE,
    event_id text NOT NULL,
    room_id text NOT NULL,
    json bytea NOT NULL,
    kept_ts bigint NOT NULL,
    PRIMARY KEY (case_id, event_id)
);

-- Events of users whose room's policy server refused to sign them: copied from event_refusals, for who sent them.
CREATE TABLE policy_server_refusals (
    event_nid bigint PRIMARY KEY,
    event_id text NOT NULL,
    room_id text NOT NULL,
    sender text NOT NULL,
    why text NOT NULL,
    refused_ts bigint NOT NULL
);
CREATE INDEX policy_server_refusals_by_sender ON policy_server_refusals (sender, refused_ts);
CREATE INDEX policy_server_refusals_by_time ON policy_server_refusals (refused_ts);

CREATE INDEX reports_by_time ON reports (received_ts);
CREATE INDEX reports_by_sender ON reports (sender);
CREATE INDEX spam_decisions_appealed ON spam_decisions (appealed_ts) WHERE appeal IS NOT NULL;
