-- Spam rules: which version of each is in force, and every version that there was.
CREATE TABLE spam_rules (
    rule_id text PRIMARY KEY,
    version integer NOT NULL,
    changed_ts bigint NOT NULL
);
CREATE TABLE spam_rule_versions (
    rule_id text NOT NULL,
    version integer NOT NULL,
    body text NOT NULL,                   -- the rule as JSON
    made_by text NOT NULL,                -- who made this version; the server itself where it switched a rule off
    made_ts bigint NOT NULL,
    why text NOT NULL DEFAULT '',
    PRIMARY KEY (rule_id, version)
);

-- Named lists that conditions ask: words, domains, media, users, servers.
CREATE TABLE spam_lists (
    name text PRIMARY KEY,
    kind text NOT NULL,
    entries text[] NOT NULL,
    changed_ts bigint NOT NULL
);

-- What rules decided, with the values that they saw: kept for a set time.
CREATE TABLE spam_decisions (
    decision_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    code text NOT NULL,                   -- by which the one who was refused can appeal
    decided_ts bigint NOT NULL,
    hook text NOT NULL,
    rule_id text NOT NULL,
    rule_version integer NOT NULL,
    stage text NOT NULL,
    outcome text NOT NULL,                -- the actions, parted by commas
    sender text NOT NULL,
    room_id text NOT NULL,
    event_id text NOT NULL,
    seen text NOT NULL,                   -- the values that the condition saw, as JSON
    appeal text,
    appealed_ts bigint,
    undone_ts bigint,
    undone_by text,
    undone_why text
);
CREATE UNIQUE INDEX spam_decisions_by_code ON spam_decisions (code);
CREATE INDEX spam_decisions_by_rule ON spam_decisions (rule_id, decision_id);
CREATE INDEX spam_decisions_by_sender ON spam_decisions (sender, decision_id);
CREATE INDEX spam_decisions_by_time ON spam_decisions (decided_ts);

-- Events that wait for somebody to look at them.
CREATE TABLE spam_held (
    decision_id bigint PRIMARY KEY REFERENCES spam_decisions ON DELETE CASCADE,
    room_id text NOT NULL,
    draft text NOT NULL
);

-- Samples that people marked: what a rule should hit, and what not.
CREATE TABLE spam_marks (
    decision_id bigint PRIMARY KEY REFERENCES spam_decisions ON DELETE CASCADE,
    is_spam boolean NOT NULL,
    marked_by text NOT NULL,
    marked_ts bigint NOT NULL
);

-- Policy list rooms that this server follows.
CREATE TABLE spam_policy_lists (
    room_id text PRIMARY KEY,
    added_by text NOT NULL,
    added_ts bigint NOT NULL
);

-- When rules first saw a user of another server: their account's age is what their server says, so nothing.
CREATE TABLE spam_first_seen (
    user_id text PRIMARY KEY,
    seen_ts bigint NOT NULL
);
