-- Sessions of the web console, apart from all others.
CREATE TABLE console_sessions (
    digest bytea PRIMARY KEY,
    user_id text NOT NULL,
    opened_ts bigint NOT NULL,
    seen_ts bigint NOT NULL,              -- to the minute
    address text NOT NULL,
    is_full boolean NOT NULL,             -- false between the password and the second factor
    password_mark bytea NOT NULL          -- digest of the password's hash at that time: another password ends the session
);
CREATE INDEX console_sessions_by_user ON console_sessions (user_id);

CREATE TABLE console_factors (
    user_id text PRIMARY KEY,
    secret text NOT NULL,                 -- base32, of RFC 6238
    is_confirmed boolean NOT NULL,
    used_step bigint NOT NULL             -- the time step of the newest code that was taken: no code counts twice
);

CREATE INDEX media_by_time ON media (created_ts, media_id);
