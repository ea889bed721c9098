-- Files of other servers that are kept here for a while.
CREATE TABLE remote_media (
    server_name text NOT NULL,
    media_id text NOT NULL,
    digest text NOT NULL REFERENCES media_files,
    size_bytes bigint NOT NULL,
    content_type text NOT NULL,
    file_name text,
    fetched_ts bigint NOT NULL,
    used_ts bigint NOT NULL,              -- to the hour
    PRIMARY KEY (server_name, media_id)
);
CREATE INDEX remote_media_by_digest ON remote_media (digest);
CREATE INDEX remote_media_by_use ON remote_media (used_ts);
