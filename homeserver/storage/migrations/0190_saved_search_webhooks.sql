-- Saved searches that tell a program instead of a room: where, how far it has heard, and what it hasn't acknowledged.
ALTER TABLE saved_searches
    ADD COLUMN webhook_url text,          -- NULL: its owner is told by a notice
    ADD COLUMN webhook_secret text,
    ADD COLUMN delivery bigint NOT NULL DEFAULT 0,
    ADD COLUMN pending bigint[],          -- the events of the delivery that was sent and isn't acknowledged
    ADD COLUMN failures integer NOT NULL DEFAULT 0,
    ADD COLUMN failing_since_ms bigint,
    ADD COLUMN retry_ms bigint NOT NULL DEFAULT 0;
