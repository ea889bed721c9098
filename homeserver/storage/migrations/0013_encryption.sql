-- When a signature was made: the signer's other devices must hear of it.
ALTER TABLE key_signatures ADD COLUMN position bigint NOT NULL DEFAULT 0;
CREATE INDEX key_signatures_by_signer ON key_signatures (signer, position);
