-- What events said may lie in the archive alone: then `json` is empty. Here is of how many events of a file at most, and
-- whether all of them were moved that may be.
ALTER TABLE archive_files ADD COLUMN bodies bigint NOT NULL DEFAULT 0;
ALTER TABLE archive_files ADD COLUMN bodies_moved boolean NOT NULL DEFAULT false;
