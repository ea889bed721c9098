-- Uploads that may be interrupted and gone on with. The bytes that have come are in a file of that name.
CREATE TABLE media_uploads (
    media_id text PRIMARY KEY,
    user_id text NOT NULL,
    length bigint NOT NULL,
    content_type text,
    file_name text,
    expires_ts bigint NOT NULL
);
CREATE INDEX media_uploads_by_time ON media_uploads (expires_ts);
