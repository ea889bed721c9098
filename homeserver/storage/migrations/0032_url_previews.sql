-- What pages say of themselves, as it was fetched; `media_id` is the picture that is shown with it.
CREATE TABLE url_previews (
    url_hash bytea PRIMARY KEY,           -- SHA-256
    fetched_ts bigint NOT NULL,
    expires_ts bigint NOT NULL,
    preview bytea,                        -- JSON; NULL: there is none
    media_id text
);
CREATE INDEX url_previews_by_time ON url_previews (expires_ts);
