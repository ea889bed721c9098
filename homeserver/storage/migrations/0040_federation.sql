-- Our own signing keys: the one in use, and those before it, which events that they signed are still checked with.
CREATE TABLE own_signing_keys (
    key_id text PRIMARY KEY,
    verify_key bytea NOT NULL,
    expired_ms bigint                     -- NULL: in use
);

-- Every key that another server has published, and until when what it signs may be believed.
CREATE TABLE server_keys (
    server_name text NOT NULL,
    key_id text NOT NULL,
    verify_key bytea NOT NULL,
    valid_until_ms bigint NOT NULL,
    is_old boolean NOT NULL,              -- in old_verify_keys: for events only
    PRIMARY KEY (server_name, key_id)
);

-- The newest key document of each server, as it signed it: what we vouch for as a notary.
CREATE TABLE server_key_documents (
    server_name text PRIMARY KEY,
    document bytea NOT NULL,
    valid_until_ms bigint NOT NULL,
    fetched_ms bigint NOT NULL
);

-- Servers that could not be reached, and when they are tried again. A server without a row is well.
CREATE TABLE unreachable_servers (
    server_name text PRIMARY KEY,
    failing_since_ms bigint NOT NULL,
    retry_at_ms bigint NOT NULL,
    failures integer NOT NULL,
    reason text NOT NULL
);
