-- Sign-ins at other services: what each has opened here ends when the service says that it ended there.
CREATE TABLE upstream_sessions (
    upstream_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    provider text NOT NULL,
    name_digest bytea NOT NULL,           -- what the service calls the person in it, as SHA-256
    session_digest bytea,                 -- what it calls the session, as SHA-256
    user_id text NOT NULL,
    opened_ts bigint NOT NULL,
    details bytea                         -- what it must be told to end it there, as JSON
);
CREATE INDEX upstream_sessions_by_name ON upstream_sessions (provider, name_digest);
CREATE INDEX upstream_sessions_by_session ON upstream_sessions (provider, session_digest);
CREATE INDEX upstream_sessions_by_user ON upstream_sessions (user_id, opened_ts);

-- What came of a sign-in: browsers on our pages, what is on its way to an app, and devices.
ALTER TABLE browser_sessions ADD COLUMN upstream_nid bigint REFERENCES upstream_sessions ON DELETE CASCADE;
ALTER TABLE login_tokens ADD COLUMN upstream_nid bigint REFERENCES upstream_sessions ON DELETE CASCADE;
ALTER TABLE oauth_codes ADD COLUMN upstream_nid bigint REFERENCES upstream_sessions ON DELETE CASCADE;
ALTER TABLE oauth_device_codes ADD COLUMN upstream_nid bigint REFERENCES upstream_sessions ON DELETE CASCADE;
ALTER TABLE devices ADD COLUMN upstream_nid bigint REFERENCES upstream_sessions ON DELETE SET NULL;
CREATE INDEX browser_sessions_upstream ON browser_sessions (upstream_nid) WHERE upstream_nid IS NOT NULL;
CREATE INDEX login_tokens_upstream ON login_tokens (upstream_nid) WHERE upstream_nid IS NOT NULL;
CREATE INDEX oauth_codes_upstream ON oauth_codes (upstream_nid) WHERE upstream_nid IS NOT NULL;
CREATE INDEX oauth_device_codes_upstream ON oauth_device_codes (upstream_nid) WHERE upstream_nid IS NOT NULL;
CREATE INDEX devices_upstream ON devices (upstream_nid) WHERE upstream_nid IS NOT NULL;

-- Orders to end sessions that were followed: each counts once.
CREATE TABLE used_logouts (
    digest bytea PRIMARY KEY,
    expires_ts bigint NOT NULL
);
CREATE INDEX used_logouts_by_end ON used_logouts (expires_ts);
