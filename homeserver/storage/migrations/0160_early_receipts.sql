
-- Receipts at events that aren't here (their place is before all that are), for who comes to their room.
CREATE INDEX receipts_early ON receipts (room_id, position) WHERE event_ordering = -4611686018427387904;
