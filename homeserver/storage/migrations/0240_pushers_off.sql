-- People switch notifications of a device off, also from another one (MSC3881).
ALTER TABLE pushers ADD COLUMN is_enabled boolean NOT NULL DEFAULT true;
