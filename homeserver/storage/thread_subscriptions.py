"""The table `thread_subscriptions`: which threads users follow, or have stopped to follow."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.storage.database import Reader, Row, Tx

_COLUMNS = "room_id, root, is_subscribed, is_automatic, position"
_ONE = f"SELECT {_COLUMNS} FROM thread_subscriptions WHERE user_id = $1 AND room_id = $2 AND root = $3"
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('thread_subscriptions ' || $1, 0))"
_COUNT = "SELECT count(*) FROM thread_subscriptions WHERE user_id = $1"
_UPSERT = """
    INSERT INTO thread_subscriptions (user_id, room_id, root, is_subscribed, is_automatic, position)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (user_id, room_id, root) DO UPDATE
    SET is_subscribed = excluded.is_subscribed, is_automatic = excluded.is_automatic, position = excluded.position
"""
_FOLLOWERS = "SELECT root, user_id, position FROM thread_subscriptions WHERE root = ANY($1::text[]) AND is_subscribed"
_CHANGES = f"""
    SELECT {_COLUMNS} FROM thread_subscriptions
    WHERE user_id = $1 AND position > $2 AND position <= $3 AND ($2 > 0 OR is_subscribed)
    ORDER BY position DESC LIMIT $4
"""


@dataclass(frozen=True, slots=True)
class Subscription:
    room_id: RoomId
    root: EventId
    is_subscribed: bool
    is_automatic: bool
    position: int


async def one(db: Reader, user_id: UserId, room_id: RoomId, root: EventId) -> Subscription | None:
    row = await db.fetchrow(_ONE, user_id, room_id, root)
    return _subscription(row) if row is not None else None


async def lock(tx: Tx, user_id: UserId) -> int:
    """Keeps others from changing the user's subscriptions until the transaction ends; how many there are."""
    await tx.execute(_LOCK, user_id)
    return int(await tx.fetchval(_COUNT, user_id))


async def upsert(tx: Tx, user_id: UserId, subscription: Subscription) -> None:
    one = subscription
    await tx.execute(_UPSERT, user_id, one.room_id, one.root, one.is_subscribed, one.is_automatic, one.position)


async def changes(db: Reader, user_id: UserId, since: int, upto: int, limit: int) -> list[Subscription]:
    """What changed with since < position <= upto, newest first; from the beginning what is followed alone."""
    return [_subscription(row) for row in await db.fetch(_CHANGES, user_id, since, upto, limit)]


async def followers(db: Reader, roots: Collection[EventId]) -> Mapping[EventId, Mapping[UserId, int]]:
    """Who follows these threads, and the position of their newest change. One index scan each."""
    found: defaultdict[EventId, dict[UserId, int]] = defaultdict(dict)
    for row in await db.fetch(_FOLLOWERS, list(roots)):
        found[EventId(row["root"])][UserId(row["user_id"])] = row["position"]
    return found


def _subscription(row: Row) -> Subscription:
    return Subscription(
        RoomId(row["room_id"]), EventId(row["root"]), row["is_subscribed"], row["is_automatic"], row["position"]
    )
