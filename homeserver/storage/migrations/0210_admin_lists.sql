-- What operators' lists of all accounts and rooms are sorted by: a page costs the same at the millionth row.
CREATE INDEX users_listed ON users (user_id) INCLUDE (is_deactivated, is_locked, is_guest, is_admin, user_type);
CREATE INDEX users_by_creation ON users (created_ts, user_id);
CREATE INDEX users_by_type ON users (user_type, user_id) WHERE user_type IS NOT NULL;
CREATE INDEX users_guests ON users (user_id) WHERE is_guest;
CREATE INDEX users_admins ON users (user_id) WHERE is_admin;
CREATE INDEX users_deactivated ON users (user_id) WHERE is_deactivated;
CREATE INDEX users_locked ON users (user_id) WHERE is_locked;
CREATE INDEX users_suspended ON users (user_id) WHERE is_suspended;
-- An index's row has a bound, what somebody calls themselves has none as short.
CREATE INDEX profiles_by_value ON profiles (field, substring(value, 1, 200), user_id)
    WHERE field IN ('displayname', 'avatar_url');
CREATE INDEX devices_by_sight ON devices (last_seen_ts, user_id) WHERE last_seen_ts IS NOT NULL;

CREATE INDEX room_overviews_by_alias ON room_overviews (canonical_alias, room_id);
CREATE INDEX room_overviews_by_local_members ON room_overviews (joined_local_members, room_id);
CREATE INDEX room_overviews_by_version ON room_overviews (version, room_id);
CREATE INDEX room_overviews_by_creator ON room_overviews (creator, room_id);
CREATE INDEX room_overviews_by_encryption ON room_overviews (encryption, room_id);
CREATE INDEX room_overviews_by_federation ON room_overviews (federatable, room_id);
CREATE INDEX room_overviews_by_join_rules ON room_overviews (join_rules, room_id);
CREATE INDEX room_overviews_by_guests ON room_overviews (guest_access, room_id);
CREATE INDEX room_overviews_by_visibility ON room_overviews (history_visibility, room_id);
CREATE INDEX rooms_by_publication ON rooms (is_published, room_id);
