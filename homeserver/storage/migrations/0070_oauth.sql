-- Clients that registered themselves; the same metadata are one client.
CREATE TABLE oauth_clients (
    client_id text PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    metadata bytea NOT NULL,              -- JSON, checked
    created_ts bigint NOT NULL
);

-- Which client a device's session was given to.
CREATE TABLE oauth_sessions (
    user_id text NOT NULL,
    device_id text NOT NULL,
    client_id text NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE oauth_codes (
    digest bytea PRIMARY KEY,
    client_id text NOT NULL,
    redirect_uri text NOT NULL,
    user_id text NOT NULL,
    device_id text NOT NULL,
    challenge text NOT NULL,              -- PKCE, S256
    expires_ts bigint NOT NULL,
    is_used boolean NOT NULL DEFAULT false
);

CREATE TABLE oauth_device_codes (
    digest bytea PRIMARY KEY,
    user_code text NOT NULL UNIQUE,
    client_id text NOT NULL,
    device_id text NOT NULL,
    expires_ts bigint NOT NULL,
    polled_ts bigint NOT NULL DEFAULT 0,
    user_id text,                         -- who allowed it
    is_denied boolean NOT NULL DEFAULT false
);

-- Refresh tokens that were exchanged: whoever shows one again has stolen it, or was stolen from.
CREATE TABLE oauth_spent_tokens (
    digest bytea PRIMARY KEY,
    user_id text NOT NULL,
    device_id text NOT NULL,
    spent_ts bigint NOT NULL
);
CREATE INDEX oauth_spent_tokens_by_device ON oauth_spent_tokens (user_id, device_id, spent_ts);

-- People who are signed in with a browser on our own pages.
CREATE TABLE browser_sessions (
    digest bytea PRIMARY KEY,
    user_id text NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX browser_sessions_by_user ON browser_sessions (user_id, expires_ts);

-- Tokens for m.login.token, each good once.
CREATE TABLE login_tokens (
    digest bytea PRIMARY KEY,
    user_id text NOT NULL,
    expires_ts bigint NOT NULL
);

-- Who somebody is at a sign-in service: by its own identifier, which never changes hands.
CREATE TABLE external_ids (
    provider text NOT NULL,
    subject text NOT NULL,
    user_id text NOT NULL,
    PRIMARY KEY (provider, subject)
);
CREATE INDEX external_ids_by_user ON external_ids (user_id);
