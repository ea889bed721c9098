-- What devices and users publish for end-to-end encryption. The values are JSON as it was uploaded.
CREATE TABLE device_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    keys bytea NOT NULL,
    PRIMARY KEY (user_id, device_id)
);

CREATE TABLE one_time_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key bytea NOT NULL,
    position bigint NOT NULL,             -- the oldest is handed out first
    PRIMARY KEY (user_id, device_id, algorithm, key_id)
);

CREATE TABLE fallback_keys (
    user_id text NOT NULL,
    device_id text NOT NULL,
    algorithm text NOT NULL,
    key_id text NOT NULL,
    key bytea NOT NULL,
    is_used boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, device_id, algorithm)
);

CREATE TABLE cross_signing_keys (
    user_id text NOT NULL,
    usage text NOT NULL,                  -- master, self_signing, user_signing
    key bytea NOT NULL,
    PRIMARY KEY (user_id, usage)
);

-- Signatures that users have put on devices and master keys, beside those the keys came with.
CREATE TABLE key_signatures (
    signer text NOT NULL,
    signing_key_id text NOT NULL,
    target_user text NOT NULL,
    target_key text NOT NULL,             -- a device id, or a master key
    signature text NOT NULL,
    PRIMARY KEY (target_user, target_key, signer, signing_key_id)
);

-- Each change of what a user publishes: the newest position alone.
CREATE TABLE device_list_changes (
    user_id text PRIMARY KEY,
    position bigint NOT NULL
);
CREATE INDEX device_list_changes_by_position ON device_list_changes (position);

CREATE TABLE to_device_messages (
    user_id text NOT NULL,
    device_id text NOT NULL,
    position bigint NOT NULL,
    number integer NOT NULL,              -- within the position
    message bytea NOT NULL,
    PRIMARY KEY (user_id, device_id, position, number)
);

-- Transaction ids of requests that must not be done twice.
CREATE TABLE to_device_transactions (
    user_id text NOT NULL,
    device_id text NOT NULL,
    txn_id text NOT NULL,
    done_ts bigint NOT NULL,
    PRIMARY KEY (user_id, device_id, txn_id)
);
CREATE INDEX to_device_transactions_by_age ON to_device_transactions (done_ts);

CREATE TABLE key_backups (
    user_id text NOT NULL,
    version bigint NOT NULL,
    algorithm text NOT NULL,
    auth_data bytea NOT NULL,
    etag bigint NOT NULL DEFAULT 0,
    is_deleted boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, version)
);

CREATE TABLE backed_up_sessions (
    user_id text NOT NULL,
    version bigint NOT NULL,
    room_id text NOT NULL,
    session_id text NOT NULL,
    first_message_index bigint NOT NULL,
    forwarded_count bigint NOT NULL,
    is_verified boolean NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (user_id, version, room_id, session_id)
);

CREATE TABLE dehydrated_devices (
    user_id text PRIMARY KEY,
    device_id text NOT NULL,
    device_data bytea NOT NULL
);
