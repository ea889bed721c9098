-- Files that users have uploaded. The bytes are in the object store under the digest: the same file is kept once.
CREATE TABLE media (
    media_id text PRIMARY KEY,
    user_id text NOT NULL,
    created_ts bigint NOT NULL,
    expires_ts bigint,                    -- for an id that waits for its file
    digest text,                          -- SHA-256, hexadecimal; NULL while there is no file
    size_bytes bigint,
    content_type text,
    file_name text
);
CREATE INDEX media_by_user ON media (user_id, created_ts);
CREATE INDEX media_by_digest ON media (digest);
