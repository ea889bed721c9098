-- Passkeys: public keys of authenticators with which people sign in on our pages.
CREATE TABLE passkeys (
    credential_id bytea PRIMARY KEY,
    user_id text NOT NULL,
    public_key bytea NOT NULL,            -- COSE
    sign_count bigint NOT NULL,
    name text NOT NULL,
    created_ts bigint NOT NULL,
    used_ts bigint
);
CREATE INDEX passkeys_by_user ON passkeys (user_id);

CREATE TABLE passkey_accounts (
    user_id text PRIMARY KEY,
    handle bytea NOT NULL UNIQUE,         -- what authenticators know the account by: it says nothing of the user
    is_required boolean NOT NULL          -- the password alone lets nobody in
);
