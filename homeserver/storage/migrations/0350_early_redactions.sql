-- Redactions that came before the events that they name: they apply once those are here.
CREATE TABLE early_redactions (
    room_nid bigint NOT NULL,
    target_id text NOT NULL,              -- an event that isn't here
    sender text NOT NULL,                 -- of the redaction: one each is enough
    redaction_nid bigint NOT NULL,
    PRIMARY KEY (room_nid, target_id, sender)
);
