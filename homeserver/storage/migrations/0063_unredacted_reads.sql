-- Who looked at what redacted events had said (MSC2815).
CREATE TABLE unredacted_reads (
    read_ts bigint NOT NULL,
    user_id text NOT NULL,
    room_id text NOT NULL,
    event_id text NOT NULL
);
CREATE INDEX unredacted_reads_by_time ON unredacted_reads (read_ts);
