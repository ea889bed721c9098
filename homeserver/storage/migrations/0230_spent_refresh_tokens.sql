-- Refresh tokens that were replaced, as digests: whoever comes with one of these has it from somebody else.
CREATE TABLE spent_refresh_tokens (
    spent_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    user_id text NOT NULL,
    device_id text NOT NULL
);
CREATE INDEX spent_refresh_tokens_by_device ON spent_refresh_tokens (user_id, device_id, spent_nid);
