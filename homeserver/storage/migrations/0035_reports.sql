-- What users reported to the people who run this server. One report a reporter and target: a second one replaces the reason.
CREATE TABLE reports (
    report_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,                   -- event, room or user
    target text NOT NULL,                 -- the id of what is reported
    room_id text,                         -- the room of a reported event, or the reported room
    sender text,                          -- who sent a reported event, or the reported user
    reporter text NOT NULL,
    reason text NOT NULL,
    received_ts bigint NOT NULL
);
CREATE UNIQUE INDEX reports_once ON reports (reporter, kind, target);
CREATE INDEX reports_by_target ON reports (target);
