-- What must not be erased, for as long as somebody may need it as evidence. Released rows stay: they are the record.
CREATE TABLE legal_holds (
    hold_id text PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('room', 'user')),
    target text NOT NULL,                 -- the id of the room or user; it needn't be known here
    reason text NOT NULL,
    set_by text NOT NULL,
    set_ts bigint NOT NULL,
    released_by text,
    released_ts bigint
);
CREATE UNIQUE INDEX legal_holds_in_force ON legal_holds (kind, target) WHERE released_ts IS NULL;
CREATE INDEX legal_holds_by_time ON legal_holds (set_ts, hold_id);

-- What erases asks these.
CREATE VIEW held_rooms AS SELECT target AS room_id FROM legal_holds WHERE kind = 'room' AND released_ts IS NULL;
CREATE VIEW held_users AS SELECT target AS user_id FROM legal_holds WHERE kind = 'user' AND released_ts IS NULL;
