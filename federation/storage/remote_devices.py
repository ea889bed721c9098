"""The tables `remote_device_lists` and `incoming_to_device`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.identifiers import ServerName, UserId
from homeserver.storage.database import Reader, Tx


@dataclass(frozen=True, slots=True)
class RemoteList:
    """`keys` is JSON, or None where nothing was fetched yet; it is fresh while both versions are the same."""

    user_id: UserId
    version: int
    fetched_version: int | None
    keys: bytes | None


_BY_USERS = "SELECT user_id, version, fetched_version, keys FROM remote_device_lists WHERE user_id = ANY($1::text[])"
_CHANGED = """
    INSERT INTO remote_device_lists (user_id, version) SELECT unnest($1::text[]), 1
    ON CONFLICT (user_id) DO UPDATE SET version = remote_device_lists.version + 1
"""
_MARK_OLD = "UPDATE remote_device_lists SET version = version + 1 WHERE user_id = ANY($1::text[])"
_PUT = """
    INSERT INTO remote_device_lists (user_id, version, fetched_version, keys)
    SELECT new.user_id, new.version, new.version, new.keys
    FROM unnest($1::text[], $2::bigint[], $3::bytea[]) AS new(user_id, version, keys)
    ON CONFLICT (user_id) DO UPDATE SET fetched_version = excluded.fetched_version, keys = excluded.keys
"""
_SHARING = """
    SELECT DISTINCT theirs.user_id FROM memberships theirs
    WHERE theirs.user_id = ANY($1::text[]) AND theirs.membership = 'join' AND EXISTS (
        SELECT FROM memberships ours
        WHERE ours.room_nid = theirs.room_nid AND ours.membership = 'join'
            AND substring(ours.user_id FROM position(':' IN ours.user_id) + 1) = $2
    )
"""
_IN_PARTIAL_ROOM = "SELECT EXISTS (SELECT FROM partial_rooms WHERE whole_at IS NULL AND $1 = ANY(servers))"
_BEGIN = """
    INSERT INTO incoming_to_device (origin, message_id, received_ms)
    SELECT $1, id, $3 FROM unnest($2::text[]) AS id ON CONFLICT DO NOTHING RETURNING message_id
"""
_FORGET = "DELETE FROM incoming_to_device WHERE received_ms < $1"
_OWN_CHANGED = """
    SELECT DISTINCT changed.user_id, changed.position FROM device_list_changes changed
    JOIN memberships ours ON ours.user_id = changed.user_id AND ours.membership = 'join'
    JOIN memberships theirs ON theirs.room_nid = ours.room_nid AND theirs.membership = 'join'
        AND substring(theirs.user_id FROM position(':' IN theirs.user_id) + 1) = $1
    WHERE changed.position > $2 AND changed.position <= $3
        AND substring(changed.user_id FROM position(':' IN changed.user_id) + 1) = $4
    LIMIT $5
"""
_OWN_SINCE = """
    SELECT user_id FROM device_list_changes
    WHERE position > $1 AND substring(user_id FROM position(':' IN user_id) + 1) = $2 LIMIT $3
"""
_POSITIONS = "SELECT user_id, position FROM device_list_changes WHERE user_id = ANY($1::text[])"


async def lists(db: Reader, users: Collection[UserId]) -> dict[UserId, RemoteList]:
    return {UserId(row["user_id"]): RemoteList(*row) for row in await db.fetch(_BY_USERS, list(users))}


async def mark_changed(tx: Tx, users: Sequence[UserId]) -> None:
    """`users` must name each once."""
    await tx.execute(_CHANGED, list(users))


async def mark_old(tx: Tx, users: Collection[UserId]) -> None:
    """Has the lists that are kept of these users asked for anew when they are wanted next."""
    await tx.execute(_MARK_OLD, sorted(users))


async def put(tx: Tx, fetched: Mapping[UserId, tuple[int, bytes]]) -> None:
    """user → (the version that was known before asking, what the server said)."""
    versions, keys = [version for version, _ in fetched.values()], [keys for _, keys in fetched.values()]
    await tx.execute(_PUT, list(fetched), versions, keys)


async def sharing(db: Reader, users: Collection[UserId], own: ServerName) -> set[UserId]:
    """Those of these users who are in a room with users of ours: of them we hear when something changes."""
    return {UserId(row["user_id"]) for row in await db.fetch(_SHARING, list(users), own)}


async def is_in_partial_room(db: Reader, server: ServerName) -> bool:
    """Whether a server is in a room of ours of which we don't know all members yet."""
    return bool(await db.fetchval(_IN_PARTIAL_ROOM, server))


async def begin(tx: Tx, origin: ServerName, message_ids: Collection[str], now_ms: int) -> set[str]:
    """Those of these messages that haven't come before; they have now."""
    return {row["message_id"] for row in await tx.fetch(_BEGIN, origin, list(message_ids), now_ms)}


async def forget(tx: Tx, before_ms: int) -> None:
    await tx.execute(_FORGET, before_ms)


async def own_changed(
    db: Reader, server: ServerName, own: ServerName, after: int, upto: int, limit: int
) -> dict[UserId, int]:
    """Our users who share a room with a server, and whose devices changed in (after, upto]."""
    rows = await db.fetch(_OWN_CHANGED, server, after, upto, own, limit)
    return {UserId(row["user_id"]): row["position"] for row in rows}


async def own_since(db: Reader, own: ServerName, after: int, limit: int) -> list[UserId]:
    """Our users whose devices changed after a position."""
    return [UserId(row["user_id"]) for row in await db.fetch(_OWN_SINCE, after, own, limit)]


async def own_positions(db: Reader, users: Collection[UserId]) -> dict[UserId, int]:
    """When the devices of these users of ours changed last."""
    return {UserId(row["user_id"]): row["position"] for row in await db.fetch(_POSITIONS, list(users))}
