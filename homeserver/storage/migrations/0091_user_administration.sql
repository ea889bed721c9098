-- What they send is answered as if it had been sent, and goes nowhere.
ALTER TABLE users ADD COLUMN is_shadow_banned boolean NOT NULL DEFAULT false;
CREATE INDEX users_shadow_banned ON users (user_id) WHERE is_shadow_banned;

-- Users whom other limits hold for than the configured ones; 0 messages a second: none at all.
CREATE TABLE rate_limit_overrides (
    user_id text PRIMARY KEY,
    messages_per_second integer NOT NULL,
    burst_count integer NOT NULL
);

-- Features that are tried with some users.
CREATE TABLE experimental_features (
    user_id text NOT NULL,
    feature text NOT NULL,
    is_enabled boolean NOT NULL,
    PRIMARY KEY (user_id, feature)
);
