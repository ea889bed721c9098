-- Tokens by which another service learns who a user is, and nothing else. Kept as SHA-256 digests.
CREATE TABLE openid_tokens (
    digest bytea PRIMARY KEY,
    user_id text NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX openid_tokens_by_user ON openid_tokens (user_id, expires_ts);
