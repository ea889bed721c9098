-- What operators' programs show in place of a log-in: no more than its scopes, no longer than it is good.
CREATE TABLE operator_tokens (
    token_nid bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    user_id text NOT NULL,
    name text NOT NULL,
    scopes text[] NOT NULL,
    created_ts bigint NOT NULL,
    expires_ts bigint NOT NULL
);
CREATE INDEX operator_tokens_by_user ON operator_tokens (user_id);
