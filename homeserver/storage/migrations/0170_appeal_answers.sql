-- What was answered to users who said that a rule was wrong about them.
CREATE TABLE appeal_answers (
    decision_id bigint PRIMARY KEY REFERENCES spam_decisions ON DELETE CASCADE,
    is_accepted boolean NOT NULL,
    reply text NOT NULL,                  -- what the user was told, empty for nothing
    answered_by text NOT NULL,
    answered_ts bigint NOT NULL
);
