"""What the console's lists and details show, read from the tables of other parts; nothing here writes.

Lists go by keys, never by offsets: a page costs the same at the millionth row.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from homeserver.storage.bodies import Line, whole
from homeserver.storage.database import Reader, Row

Shown = dict[str, Any]
# The rooms that somebody is bound to; None: all that there are.
Within = frozenset[str] | None
_LAST = chr(0x10FFFF)

_USERS = """
    SELECT u.user_id, u.created_ts, u.is_guest, u.is_deactivated, u.is_locked, u.is_suspended, u.user_type,
        CASE WHEN u.is_admin THEN 'owner' ELSE r.role END AS role,
        (SELECT p.value FROM profiles p WHERE p.user_id = u.user_id AND p.field = 'displayname') AS display_name,
        (SELECT max(d.last_seen_ts) FROM devices d WHERE d.user_id = u.user_id) AS last_seen_ts
    FROM users u LEFT JOIN operator_roles r USING (user_id)
    WHERE u.user_id > $1 AND u.user_id >= $2 AND u.user_id < $3 AND CASE $4
        WHEN 'active' THEN NOT (u.is_deactivated OR u.is_locked OR u.is_suspended)
        WHEN 'suspended' THEN u.is_suspended WHEN 'locked' THEN u.is_locked WHEN 'deactivated' THEN u.is_deactivated
        WHEN 'guests' THEN u.is_guest WHEN 'operators' THEN u.is_admin OR r.role IS NOT NULL ELSE true END
        AND ($6::text[] IS NULL OR u.user_id IN (
            SELECT m.user_id FROM memberships m JOIN rooms w USING (room_nid) WHERE w.room_id = ANY($6)
        ))
    ORDER BY u.user_id LIMIT $5
"""
_USER = """
    SELECT u.user_id, u.created_ts, u.is_guest, u.is_deactivated, u.is_locked, u.is_suspended, u.user_type,
        CASE WHEN u.is_admin THEN 'owner' ELSE r.role END AS role, u.password_hash IS NOT NULL AS has_password,
        (SELECT p.value FROM profiles p WHERE p.user_id = u.user_id AND p.field = 'displayname') AS display_name,
        (SELECT count(*) FROM media m WHERE m.user_id = u.user_id) AS media,
        (SELECT coalesce(sum(size_bytes), 0)::bigint FROM media m WHERE m.user_id = u.user_id) AS media_bytes,
        EXISTS (SELECT FROM console_factors f WHERE f.user_id = u.user_id AND f.is_confirmed) AS has_factor
    FROM users u LEFT JOIN operator_roles r USING (user_id) WHERE u.user_id = $1
"""
_DEVICES = """
    SELECT device_id, display_name, last_seen_ts, last_seen_ip, last_seen_user_agent FROM devices
    WHERE user_id = $1 ORDER BY last_seen_ts DESC NULLS LAST, device_id LIMIT 200
"""
_NAME_OF_ROOM = """
    (SELECT e.json FROM events e WHERE e.room_nid = r.room_nid AND e.ordering IS NOT NULL AND e.flags = 0
        AND e.key_nid = (SELECT key_nid FROM state_keys WHERE type = 'm.room.name' AND state_key = '')
        ORDER BY e.ordering DESC LIMIT 1) AS named
"""
_ROOMS_OF = f"""
    SELECT r.room_id, m.membership, {_NAME_OF_ROOM}
    FROM memberships m JOIN rooms r USING (room_nid) WHERE m.user_id = $1 AND m.membership <> 'leave'
        AND ($2::text[] IS NULL OR r.room_id = ANY($2))
    ORDER BY m.membership DESC, r.room_nid DESC LIMIT 200
"""
_REPORTS_ABOUT = """
    SELECT report_id, kind, target, reporter, reason, received_ts FROM reports
    WHERE (sender = $1 OR target = $1) AND ($2::text[] IS NULL OR room_id = ANY($2)) ORDER BY report_id DESC LIMIT 100
"""
_ROOMS_WHERE = f"""
    SELECT r.room_nid, r.room_id, r.version, r.creator, r.is_published, f.is_encrypted, f.room_type, {_NAME_OF_ROOM},
        (SELECT count(*) FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join') AS members,
        EXISTS (SELECT FROM blocked_rooms b WHERE b.room_id = r.room_id) AS is_blocked
    FROM rooms r LEFT JOIN room_facts f USING (room_nid)
    WHERE r.room_nid < $1
        AND CASE $2 WHEN 'published' THEN r.is_published WHEN 'encrypted' THEN coalesce(f.is_encrypted, false)
        WHEN 'blocked' THEN EXISTS (SELECT FROM blocked_rooms b WHERE b.room_id = r.room_id)
        WHEN 'spaces' THEN f.room_type = 'm.space' ELSE true END
        AND ($4::text[] IS NULL OR r.room_id = ANY($4))
"""
_ROOMS = f"{_ROOMS_WHERE} ORDER BY r.room_nid DESC LIMIT $3"
# Each of these by an index of its own. Joined by OR they would be looked for in every room that there is.
_ROOMS_WANTED = f"""
    {_ROOMS_WHERE} AND r.room_nid IN (
        SELECT w.room_nid FROM rooms w WHERE w.room_id = $5
        UNION ALL SELECT w.room_nid FROM room_aliases a JOIN rooms w USING (room_id) WHERE a.alias = $5
        UNION ALL SELECT o.room_nid FROM room_overviews o WHERE o.creator = $5
        UNION ALL SELECT o.room_nid FROM room_overviews o
        WHERE lower(coalesce(o.name, o.canonical_alias, o.room_id)) >= lower($5)
            AND lower(coalesce(o.name, o.canonical_alias, o.room_id)) < lower($5) || $6 OFFSET 0
    ) ORDER BY r.room_nid DESC LIMIT $3
"""
# How a name begins that many rooms have is found among the newest, which takes as long as they are.
_LOOKED_THROUGH, _MANY = 5_000, 10_000
_IS_COMMON = f"""
    SELECT count(*) >= {_MANY} FROM (
        SELECT FROM room_overviews o
        WHERE lower(coalesce(o.name, o.canonical_alias, o.room_id)) >= lower($1)
            AND lower(coalesce(o.name, o.canonical_alias, o.room_id)) < lower($1) || $2 LIMIT {_MANY}
    ) AS few
"""
_ROOMS_AMONG_NEWEST = f"""
    SELECT r.room_nid, r.room_id, r.version, r.creator, r.is_published, f.is_encrypted, f.room_type, {_NAME_OF_ROOM},
        (SELECT count(*) FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join') AS members,
        EXISTS (SELECT FROM blocked_rooms b WHERE b.room_id = r.room_id) AS is_blocked
    FROM (
        SELECT n.* FROM (SELECT * FROM rooms WHERE room_nid < $1 ORDER BY room_nid DESC LIMIT {_LOOKED_THROUGH}) AS n
        WHERE EXISTS (
            SELECT FROM room_overviews o WHERE o.room_nid = n.room_nid
                AND starts_with(lower(coalesce(o.name, o.canonical_alias, o.room_id)), lower($2))
        )
        ORDER BY n.room_nid DESC LIMIT $3
    ) AS r LEFT JOIN room_facts f USING (room_nid) ORDER BY r.room_nid DESC
"""
_ROOM = f"""
    SELECT r.room_nid, r.room_id, r.version, r.creator, r.is_published, f.is_encrypted, f.room_type, {_NAME_OF_ROOM},
        (SELECT count(*) FROM memberships m WHERE m.room_nid = r.room_nid AND m.membership = 'join') AS members,
        ARRAY(SELECT a.alias FROM room_aliases a WHERE a.room_id = r.room_id ORDER BY a.alias LIMIT 50) AS aliases,
        EXISTS (SELECT FROM blocked_rooms b WHERE b.room_id = r.room_id) AS is_blocked
    FROM rooms r LEFT JOIN room_facts f USING (room_nid) WHERE r.room_id = $1
"""
_ROOM_NAMES = """
    SELECT room_id, coalesce(name, canonical_alias) AS name FROM room_overviews
    WHERE room_id = ANY($1::text[]) AND coalesce(name, canonical_alias) IS NOT NULL
"""
_MEMBERS = """
    SELECT m.user_id, m.membership FROM memberships m JOIN rooms r USING (room_nid)
    WHERE r.room_id = $1 AND m.membership = $2 AND m.user_id > $3 ORDER BY m.user_id LIMIT $4
"""
_STATE = """
    SELECT DISTINCT ON (k.type, k.state_key) k.type, k.state_key, e.event_id, e.sender, e.origin_server_ts, e.json
    FROM events e JOIN state_keys k USING (key_nid)
    WHERE e.room_nid = $1 AND e.ordering IS NOT NULL AND e.flags = 0 AND k.type <> 'm.room.member'
    ORDER BY k.type, k.state_key, e.ordering DESC LIMIT 200
"""
_TIMELINE = """
    SELECT ordering, event_id, sender, origin_server_ts, redacted_by, json FROM events
    WHERE room_nid = $1 AND ordering < $2 AND ordering IS NOT NULL AND flags = 0 ORDER BY ordering DESC LIMIT $3
"""
_EVENT = """
    SELECT e.event_id, r.room_id, e.sender, e.origin_server_ts, e.redacted_by, e.flags, e.ordering, e.json
    FROM events e JOIN rooms r USING (room_nid) WHERE e.event_id = $1
"""
_BODIES = """
    SELECT event_id, json FROM events e WHERE event_id = ANY($1::text[]) AND redacted_by IS NULL
        AND ($2::text[] IS NULL OR e.room_nid IN (SELECT room_nid FROM rooms WHERE room_id = ANY($2)))
"""
_REPORTS = """
    SELECT report_id, kind, target, room_id, sender, reporter, reason, received_ts FROM reports
    WHERE report_id < $1 AND ($2 = '' OR kind = $2) AND ($3 = '' OR target = $3 OR sender = $3 OR room_id = $3)
        AND ($5::text[] IS NULL OR room_id = ANY($5))
    ORDER BY report_id DESC LIMIT $4
"""
_REPORT = """
    SELECT report_id, kind, target, room_id, sender, reporter, reason, received_ts FROM reports WHERE report_id = $1
"""
_MEDIA = """
    SELECT m.media_id, m.user_id, m.created_ts, m.size_bytes, m.content_type, m.file_name, m.digest,
        coalesce(f.is_quarantined, false) AS is_quarantined
    FROM media m LEFT JOIN media_files f USING (digest)
    WHERE (m.created_ts, m.media_id) < ($1, $2) AND m.digest IS NOT NULL
        AND ($3 = '' OR m.user_id = $3 OR m.media_id = $3 OR m.digest = $3)
        AND ($4 <> 'quarantined' OR f.is_quarantined)
    ORDER BY m.created_ts DESC, m.media_id DESC LIMIT $5
"""
_TROUBLED = """
    SELECT server_name, failing_since_ms, retry_at_ms, failures, reason FROM unreachable_servers
    WHERE server_name > $1 ORDER BY server_name LIMIT $2
"""
_KNOWN_SERVERS = """
    SELECT d.server_name, d.fetched_ms, d.valid_until_ms, u.failing_since_ms, u.retry_at_ms, u.failures, u.reason,
        l.sent_position
    FROM server_key_documents d LEFT JOIN unreachable_servers u USING (server_name)
        LEFT JOIN lagging_servers l USING (server_name)
    WHERE d.server_name > $1 ORDER BY d.server_name LIMIT $2
"""
_SERVER_KEYS = """
    SELECT key_id, valid_until_ms, is_old FROM server_keys WHERE server_name = $1
    ORDER BY is_old, valid_until_ms DESC LIMIT 20
"""
_SERVERS_OF = """
    SELECT substring(user_id FROM position(':' IN user_id) + 1) AS server, count(*) AS members FROM memberships
    WHERE room_nid = $1 AND membership = 'join' GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 200
"""
_MEMBERSHIPS_OF = "SELECT membership, count(*) AS count FROM memberships WHERE room_nid = $1 GROUP BY membership"
_TOKENS = """
    SELECT token, uses_allowed, completed, expires_ts FROM registration_tokens WHERE token > $1 ORDER BY token LIMIT $2
"""
_JOBS = """
    SELECT job_id, kind, target, state, progress, error, started_by, created_ts, changed_ts FROM admin_jobs
    WHERE (created_ts, job_id) < ($1, $2) AND ($3 = '' OR target = $3 OR kind = $3 OR job_id = $3)
        AND ($4 = 'all' OR state = $4)
    ORDER BY created_ts DESC, job_id DESC LIMIT $5
"""
_SEARCH_CURSORS = "SELECT consumer, position FROM journal_cursors WHERE consumer LIKE 'search%' ORDER BY consumer"
_DEAD_LETTERS = "SELECT event_id, reason, noted_ms FROM search_dead_letters ORDER BY noted_ms DESC LIMIT $1"
_ARCHIVE_MONTHS = """
    SELECT month, count(*) AS files, sum(rows)::bigint AS messages, sum(parquet_bytes + terms_bytes)::bigint AS bytes,
        bool_and(is_cold) AS is_cold, count(damage) AS damaged
    FROM archive_files GROUP BY month ORDER BY month DESC LIMIT 120
"""
_ARCHIVE_TOTAL = """
    SELECT count(DISTINCT month) AS months, coalesce(sum(rows), 0)::bigint AS messages,
        coalesce(sum(parquet_bytes + terms_bytes), 0)::bigint AS bytes FROM archive_files
"""
_ARCHIVE_JOBS = """
    SELECT kind, month, asked_ms, begun_ms, ended_ms, what, done, total, result FROM archive_jobs
    ORDER BY job_nid DESC LIMIT 10
"""
_SPACE = """
    SELECT relname, pg_total_relation_size(c.oid) AS bytes FROM pg_class c
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() AND relkind = 'r'
"""
# By how the names of tables begin.
_KINDS = (
    ("events", ("event",)),
    ("state", ("state", "rooms", "room_", "memberships", "stripped", "forks")),
    ("accounts", ("users", "devices", "device_", "access_", "refresh_", "profiles", "account_", "one_time", "cross_",
                  "key_backup", "push", "receipts", "to_device", "presence", "unread")),
    ("moderation", ("spam_", "reports", "case", "audit", "approvals", "policy_", "operator")),
    ("federation", ("server_key", "unreachable", "lagging", "staged", "remote_", "outgoing_")),
)  # fmt: skip
_FIGURES = """
    SELECT (SELECT count(*) FROM reports WHERE received_ts > $1) AS reports_day,
        (SELECT count(*) FROM (SELECT FROM cases WHERE is_open LIMIT 1000) few) AS cases,
        (SELECT count(*) FROM approvals WHERE approved_by IS NULL AND asked_ts > $1 + 82800000) AS approvals,
        (SELECT count(*) FROM admin_jobs WHERE state = 'failed' AND changed_ts > $1) AS failed_jobs,
        (SELECT count(*) FROM spam_rules r JOIN spam_rule_versions v USING (rule_id, version)
            WHERE v.made_by = 'hansa') AS stopped_rules,
        (SELECT count(*) FROM unreachable_servers) AS unreachable,
        (SELECT count(*) FROM (SELECT FROM users WHERE created_ts > $1 LIMIT 100000) n) AS users_day,
        pg_database_size(current_database()) AS database_bytes
"""
_ESTIMATES = """
    SELECT relname, greatest(reltuples, 0)::bigint AS rows, pg_total_relation_size(oid) AS bytes FROM pg_class
    WHERE relname = ANY($1::text[]) AND relkind = 'r'
"""
_MEDIA_BYTES = "SELECT coalesce(sum(size_bytes), 0)::bigint FROM media_files"
_RECENT = """
    SELECT count(*) AS events, coalesce(min(origin_server_ts), 0) AS oldest FROM (
        SELECT origin_server_ts FROM events WHERE ordering > 0 ORDER BY event_nid DESC LIMIT 2000
    ) newest WHERE origin_server_ts > $1
"""
_COUNT_USERS = "SELECT count(*) FROM users"
_COUNT_ROOMS = "SELECT count(*) FROM rooms"
_COUNT_EVENTS = "SELECT count(*) FROM events"
_COUNTED = {"users": _COUNT_USERS, "rooms": _COUNT_ROOMS, "events": _COUNT_EVENTS}
# Above this, PostgreSQL's own estimate does: a count would read the table.
_COUNTED_MAX = 50_000


def _given(rooms: Within) -> list[str] | None:
    return list(rooms) if rooms is not None else None


async def users(db: Reader, after: str, start: str, state: str, limit: int, rooms: Within = None) -> list[Shown]:
    """Accounts whose id begins with `start`, in the order of their ids; those who are or were in these rooms."""
    begin = start if start.startswith("@") or not start else f"@{start}"
    return [_named(row) for row in await db.fetch(_USERS, after, begin, begin + _LAST, state, limit, _given(rooms))]


async def user(db: Reader, user_id: str) -> Shown | None:
    row = await db.fetchrow(_USER, user_id)
    return _named(row) if row is not None else None


async def devices(db: Reader, user_id: str) -> list[Shown]:
    return [dict(row) for row in await db.fetch(_DEVICES, user_id)]


async def rooms_of(db: Reader, user_id: str, rooms: Within = None) -> list[Shown]:
    """At most 200 rooms in which the user is, or to which they are invited or banned."""
    return [_room(row) for row in await db.fetch(_ROOMS_OF, user_id, _given(rooms))]


async def reports_about(db: Reader, target: str, rooms: Within = None) -> list[Shown]:
    return [dict(row) for row in await db.fetch(_REPORTS_ABOUT, target, _given(rooms))]


async def rooms(db: Reader, below: int, wanted: str, state: str, limit: int, within: Within = None) -> list[Shown]:
    """Rooms, those known last first. `wanted` is a room id, an alias, a creator, or how a name begins."""
    is_name = bool(wanted) and not wanted.startswith(("!", "#", "@")) and state == "all" and within is None
    if is_name and await db.fetchval(_IS_COMMON, wanted, _LAST):
        found = await db.fetch(_ROOMS_AMONG_NEWEST, below, wanted, limit)
        if len(found) == limit:
            return [_room(row) for row in found]
    values = (below, state, limit, _given(within))
    found = await (db.fetch(_ROOMS_WANTED, *values, wanted, _LAST) if wanted else db.fetch(_ROOMS, *values))
    return [_room(row) for row in found]


async def room(db: Reader, room_id: str) -> Shown | None:
    row = await db.fetchrow(_ROOM, room_id)
    return _room(row) if row is not None else None


async def room_names(db: Reader, room_ids: Sequence[str]) -> dict[str, str]:
    """The names of those of these rooms that have one. One query."""
    rows = await db.fetch(_ROOM_NAMES, list(room_ids))
    return {row["room_id"]: row["name"] for row in rows}


async def members(db: Reader, room_id: str, membership: str, after: str, limit: int) -> list[Shown]:
    return [dict(row) for row in await db.fetch(_MEMBERS, room_id, membership, after, limit)]


async def state(db: Reader, room_nid: int) -> list[Shown]:
    """The newest event of each type and state key, without members."""
    return [_event(row) for row in await db.fetch(_STATE, room_nid)]


async def timeline(db: Reader, room_nid: int, below: int, limit: int) -> list[Shown]:
    """Events of the timeline, the newest first."""
    return [_event(row) for row in await whole(db, await db.fetch(_TIMELINE, room_nid, below, limit))]


async def event(db: Reader, event_id: str) -> Shown | None:
    row = next(iter(await whole(db, await db.fetch(_EVENT, event_id))), None)
    return _event(row) if row is not None else None


async def bodies(db: Reader, event_ids: Sequence[str], rooms: Within = None) -> dict[str, str]:
    """What these events say, by id; those without words are left out. One query."""
    found = [_event(row) for row in await whole(db, await db.fetch(_BODIES, list(event_ids), _given(rooms)))]
    return {one["event_id"]: one["body"] for one in found if one["body"]}


async def reports(db: Reader, below: int, kind: str, about: str, limit: int, rooms: Within = None) -> list[Shown]:
    return [dict(row) for row in await db.fetch(_REPORTS, below, kind, about, limit, _given(rooms))]


async def report(db: Reader, report_id: int) -> Shown | None:
    row = await db.fetchrow(_REPORT, report_id)
    return dict(row) if row is not None else None


async def media(db: Reader, below: tuple[int, str], about: str, state: str, limit: int) -> list[Shown]:
    """Files of this server's users, the newest first."""
    return [dict(row) for row in await db.fetch(_MEDIA, *below, about, state, limit)]


async def servers(db: Reader, after: str, limit: int, *, only_troubled: bool) -> list[Shown]:
    """Other servers in the order of their names, with why and until when they are left alone."""
    return [dict(row) for row in await db.fetch(_TROUBLED if only_troubled else _KNOWN_SERVERS, after, limit)]


async def server_keys(db: Reader, server_name: str) -> list[Shown]:
    """The signing keys of another server that are known, those in use first."""
    return [dict(row) for row in await db.fetch(_SERVER_KEYS, server_name)]


async def servers_of(db: Reader, room_nid: int) -> list[Shown]:
    """The servers with members in a room, those with the most first; at most 200."""
    return [dict(row) for row in await db.fetch(_SERVERS_OF, room_nid)]


async def memberships_of(db: Reader, room_nid: int) -> dict[str, int]:
    """How many are in a room in which way."""
    return {row["membership"]: row["count"] for row in await db.fetch(_MEMBERSHIPS_OF, room_nid)}


async def tokens(db: Reader, after: str, limit: int) -> list[Shown]:
    return [dict(row) for row in await db.fetch(_TOKENS, after, limit)]


async def jobs(db: Reader, below: tuple[int, str], about: str, state: str, limit: int) -> list[Shown]:
    """Long work, the newest first."""
    return [dict(row) for row in await db.fetch(_JOBS, *below, about, state, limit)]


async def search_cursors(db: Reader) -> list[Shown]:
    """How far each tier of the search has come."""
    return [dict(row) for row in await db.fetch(_SEARCH_CURSORS)]


async def archive_months(db: Reader) -> list[Shown]:
    """What the cold archive holds by month, the newest first; at most 120 months."""
    return [dict(row) for row in await db.fetch(_ARCHIVE_MONTHS)]


async def archive_total(db: Reader) -> Shown:
    """Months, messages and bytes of the cold archive."""
    row = await db.fetchrow(_ARCHIVE_TOTAL)
    return dict(row) if row is not None else {"months": 0, "messages": 0, "bytes": 0}


async def archive_jobs(db: Reader) -> list[Shown]:
    """What operators asked of the archive last; `result` is JSON, or None while it goes on."""
    return [{**row, "result": (row["result"] or b"").decode()} for row in await db.fetch(_ARCHIVE_JOBS)]


async def dead_letters(db: Reader, limit: int) -> list[Shown]:
    """Events that an index refused, the newest first."""
    return [dict(row) for row in await db.fetch(_DEAD_LETTERS, limit)]


async def space(db: Reader) -> dict[str, int]:
    """Bytes in the database by kind of data."""
    found: dict[str, int] = {}
    for row in await db.fetch(_SPACE):
        kind = next((kind for kind, begins in _KINDS if row["relname"].startswith(begins)), "other")
        found[kind] = found.get(kind, 0) + row["bytes"]
    return dict(sorted(found.items(), key=lambda one: -one[1]))


async def figures(db: Reader, now_ms: int) -> Shown:
    """The numbers of the overview. Big tables are estimated."""
    row = await db.fetchrow(_FIGURES, now_ms - 86_400_000)
    estimates = {one["relname"]: one for one in await db.fetch(_ESTIMATES, [*_COUNTED, "media"])}
    shown: Shown = dict(row) if row is not None else {}
    for name, count in _COUNTED.items():
        rows = estimates[name]["rows"]
        shown[name] = rows if rows > _COUNTED_MAX else await db.fetchval(count)
    shown["events_bytes"] = estimates["events"]["bytes"]
    few_files = estimates["media"]["rows"] < 1_000_000
    shown["media_bytes"] = await db.fetchval(_MEDIA_BYTES) if few_files else None
    recent = await db.fetchrow(_RECENT, now_ms - 60_000)
    seconds = max(1.0, (now_ms - recent["oldest"]) / 1000) if recent and recent["events"] >= 2000 else 60.0
    shown["events_per_s"] = round((recent["events"] if recent else 0) / seconds, 1)
    return shown


def _named(row: Row) -> Shown:
    shown = dict(row)
    shown["display_name"] = _text(_json(row["display_name"]))
    return shown


def _room(row: Row) -> Shown:
    shown = dict(row)
    content = _json(shown.pop("named")).get("content") or {}
    shown["name"] = _text(content.get("name") if isinstance(content, dict) else None)
    return shown


def _event(row: Line) -> Shown:
    shown = dict(row)
    source = _json(shown.pop("json"))
    content = source.get("content")
    shown["type"] = _text(source.get("type"))
    shown["content"] = content if isinstance(content, dict) else {}
    shown["source"] = source
    body = shown["content"].get("body")
    shown["body"] = _text(body)
    return shown


def _json(data: bytes | None) -> Any:
    return json.loads(data) if data is not None else {}


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
