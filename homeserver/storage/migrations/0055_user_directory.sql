-- Whose profile changed last when: written with the change, read by those who keep copies of profiles.
CREATE TABLE profile_changes (
    user_id text PRIMARY KEY,
    position bigint NOT NULL
);
CREATE INDEX profile_changes_by_position ON profile_changes (position);

-- What the user directory shows of somebody. For users of other servers: as said in a public room.
CREATE TABLE directory_users (
    user_id text PRIMARY KEY,
    display_name text,
    avatar_url text
);

-- Each word by which somebody is found; the collation is C, so a prefix is a range of the index.
CREATE TABLE directory_words (
    word text NOT NULL,
    user_id text NOT NULL,
    PRIMARY KEY (word, user_id)
);
CREATE INDEX directory_words_by_user ON directory_words (user_id);

-- Rooms whose members everybody may find: anybody may join, or read.
CREATE TABLE directory_open_rooms (
    room_nid bigint PRIMARY KEY
);
