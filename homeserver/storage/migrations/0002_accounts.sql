CREATE TABLE users (
    user_id text PRIMARY KEY,
    password_hash text,                   -- argon2id; NULL: no log-in by password
    created_ts bigint NOT NULL,
    user_type text,
    is_admin boolean NOT NULL DEFAULT false,
    is_guest boolean NOT NULL DEFAULT false,
    is_deactivated boolean NOT NULL DEFAULT false,
    is_locked boolean NOT NULL DEFAULT false,
    is_suspended boolean NOT NULL DEFAULT false,
    erased_position bigint                -- the journal position at which the account was erased
);
CREATE INDEX users_erased ON users (user_id) WHERE erased_position IS NOT NULL;

CREATE TABLE devices (
    user_id text NOT NULL,
    device_id text NOT NULL,
    display_name text,
    last_seen_ts bigint,
    last_seen_ip text,
    last_seen_user_agent text,
    PRIMARY KEY (user_id, device_id)
);

-- Tokens are kept as SHA-256 digests: whoever reads the table can't use them.
CREATE TABLE access_tokens (
    token_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    user_id text NOT NULL,
    device_id text,
    expires_ts bigint,
    refresh_nid bigint                    -- the refresh token that was given out with it
);
CREATE INDEX access_tokens_by_device ON access_tokens (user_id, device_id);

CREATE TABLE refresh_tokens (
    token_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    user_id text NOT NULL,
    device_id text NOT NULL,
    expires_ts bigint,
    used_ts bigint                        -- when it was exchanged for the next one
);
CREATE INDEX refresh_tokens_by_device ON refresh_tokens (user_id, device_id);

CREATE TABLE registration_tokens (
    token text PRIMARY KEY,
    uses_allowed integer,                 -- NULL: any number
    completed integer NOT NULL DEFAULT 0,
    expires_ts bigint
);

-- The values are JSON.
CREATE TABLE profiles (
    user_id text NOT NULL,
    field text NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (user_id, field)
);

CREATE TABLE account_data (
    user_id text NOT NULL,
    room_id text NOT NULL,                -- '' for data of the account as a whole
    type text NOT NULL,
    content bytea NOT NULL,               -- JSON
    position bigint NOT NULL,
    PRIMARY KEY (user_id, room_id, type)
);
CREATE INDEX account_data_by_position ON account_data (user_id, position);

CREATE TABLE filters (
    user_id text NOT NULL,
    filter_id integer NOT NULL,
    digest bytea NOT NULL,
    definition bytea NOT NULL,            -- JSON
    PRIMARY KEY (user_id, filter_id),
    UNIQUE (user_id, digest)
);
