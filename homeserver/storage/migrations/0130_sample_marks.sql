-- What people said of events that a trial of a spam rule showed them.
CREATE TABLE spam_sample_marks (
    event_id text PRIMARY KEY,
    is_spam boolean NOT NULL,
    marked_by text NOT NULL,
    marked_ts bigint NOT NULL
);
