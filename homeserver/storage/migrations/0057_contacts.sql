-- Addresses of accounts outside of Matrix. One belongs to one account.
CREATE TABLE contacts (
    medium text NOT NULL,
    address text NOT NULL,
    user_id text NOT NULL,
    validated_ts bigint NOT NULL,
    added_ts bigint NOT NULL,
    PRIMARY KEY (medium, address)
);
CREATE INDEX contacts_by_user ON contacts (user_id);

-- Proofs under way that somebody reads the mail of an address. Secrets are kept as SHA-256 digests.
CREATE TABLE contact_validations (
    sid text PRIMARY KEY,
    purpose text NOT NULL,                -- register, add, password: a proof counts for its purpose alone
    address text NOT NULL,
    secret_digest bytea NOT NULL,         -- of client_secret
    token_digest bytea NOT NULL,          -- of what the mail's link holds
    user_id text NOT NULL,                -- whoever asked; '' for somebody who wasn't logged in
    send_attempt bigint NOT NULL,
    next_link text,
    created_ts bigint NOT NULL,
    validated_ts bigint,
    is_used boolean NOT NULL DEFAULT false,
    UNIQUE (purpose, address, secret_digest, user_id)
);
CREATE INDEX contact_validations_by_age ON contact_validations (created_ts);

-- Which identity servers were told that an address is a user's.
CREATE TABLE contact_bindings (
    user_id text NOT NULL,
    medium text NOT NULL,
    address text NOT NULL,
    id_server text NOT NULL,
    PRIMARY KEY (user_id, medium, address, id_server)
);
