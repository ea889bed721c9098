-- Which threads users follow (MSC4306), or have stopped to follow.
CREATE TABLE thread_subscriptions (
    user_id text NOT NULL,
    room_id text NOT NULL,
    root text NOT NULL,                   -- event id
    is_subscribed boolean NOT NULL,
    is_automatic boolean NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (user_id, room_id, root)
);
CREATE INDEX thread_subscriptions_by_position ON thread_subscriptions (user_id, position);
