-- The one room in which the server talks to a user.
CREATE TABLE server_notice_rooms (
    user_id text PRIMARY KEY,
    room_id text NOT NULL
);
CREATE INDEX server_notice_rooms_by_room ON server_notice_rooms (room_id);
