-- The bytes of media, once for each content. Ids (`media`) refer to them by digest.
CREATE TABLE media_files (
    digest text PRIMARY KEY,              -- SHA-256, hexadecimal
    object text NOT NULL,                 -- its name in the object store
    size_bytes bigint NOT NULL,
    is_quarantined boolean NOT NULL DEFAULT false
);
INSERT INTO media_files (digest, object, size_bytes)
SELECT DISTINCT ON (digest) digest, 'files/' || left(digest, 2) || '/' || digest, size_bytes FROM media
WHERE digest IS NOT NULL;
ALTER TABLE media ADD FOREIGN KEY (digest) REFERENCES media_files;

CREATE TABLE media_thumbnails (
    digest text NOT NULL REFERENCES media_files ON DELETE CASCADE,
    name text NOT NULL,                   -- the size
    object text,                          -- NULL: of this file none can be made
    size_bytes bigint NOT NULL,
    content_type text NOT NULL,
    PRIMARY KEY (digest, name)
);

-- Objects that belong to nothing: uploads under way, and what is to be deleted. Deleted once `until_ts` has passed.
CREATE TABLE media_leftovers (
    object text PRIMARY KEY,
    until_ts bigint NOT NULL
);
CREATE INDEX media_leftovers_by_time ON media_leftovers (until_ts);
CREATE INDEX media_pending ON media (expires_ts) WHERE digest IS NULL;

-- Which events show which media of this server.
CREATE TABLE media_links (
    event_nid bigint NOT NULL REFERENCES events ON DELETE CASCADE,
    media_id text NOT NULL,
    PRIMARY KEY (event_nid, media_id)
);
CREATE INDEX media_links_by_media ON media_links (media_id);

-- Media that may be shown by nothing any more: somebody has to look.
CREATE TABLE media_unshown (media_id text PRIMARY KEY);

CREATE FUNCTION media_links_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO media_unshown SELECT DISTINCT media_id FROM gone ON CONFLICT DO NOTHING;
    RETURN NULL;
END $$;
-- However an event goes: erased after its redaction, purged, or with its room.
CREATE TRIGGER media_links_gone AFTER DELETE ON media_links
REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION media_links_gone();

ALTER TABLE media
    ADD COLUMN was_shown boolean NOT NULL DEFAULT false,  -- its uploader has shown it in an event
    ADD COLUMN hidden_ts bigint;                          -- since when nothing shows it any more
CREATE INDEX media_hidden ON media (hidden_ts) WHERE hidden_ts IS NOT NULL;
