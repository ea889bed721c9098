"""Which threads users follow: MSC4306, and MSC4308 for telling their clients."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import LimitExceeded, MatrixError, NotFound
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.core.relations import THREAD, relation_of
from homeserver.journal.journal import Journal
from homeserver.rooms.history import History
from homeserver.storage import thread_subscriptions as table
from homeserver.storage.database import Database
from homeserver.storage.thread_subscriptions import Subscription

SUBSCRIPTIONS_MAX = 20_000
_PREFIX = "IO.ELEMENT.MSC4306.M_"


@dataclass(frozen=True, slots=True)
class FollowChanged:
    """What the journal's entry of a change carries."""

    user_id: UserId
    root: EventId
    is_subscribed: bool


class ThreadSubscriptions:
    """Reads and changes subscriptions."""

    # Told when a user begins to follow a thread: from the first one on, their push rules are to ask that.
    began: Callable[[UserId, EventId], Awaitable[None]] | None = None

    def __init__(self, db: Database, journal: Journal, history: History) -> None:
        self._db = db
        self._journal = journal
        self._history = history

    async def get(self, user_id: UserId, room_id: RoomId, root: EventId) -> Subscription:
        """Raises NotFound where the user doesn't follow the thread, or may not see it."""
        await self._history.event_of(user_id, room_id, root)
        found = await table.one(self._db, user_id, room_id, root)
        if found is None or not found.is_subscribed:
            raise NotFound("you don't follow this thread")
        return found

    async def subscribe(self, user_id: UserId, room_id: RoomId, root: EventId, cause: EventId | None) -> None:
        """`cause` is the event of the thread for which a client follows it without being told to.

        Raises NotFound; M_NOT_IN_THREAD for another's cause, M_CONFLICTING_UNSUBSCRIPTION for one that the user had
        seen when they stopped to follow.
        """
        await self._history.event_of(user_id, room_id, root)
        caused_at = None
        if cause is not None:
            event = await self._history.event_of(user_id, room_id, cause)
            relation = relation_of(event.event)
            if relation is None or (relation.rel_type, relation.event_id) != (THREAD, root):
                raise MatrixError("the event isn't in this thread", errcode=_PREFIX + "NOT_IN_THREAD")
            caused_at = event.ordering or 0
        async with self._journal.write() as write:
            count = await table.lock(write.tx, user_id)
            before = await table.one(write.tx, user_id, room_id, root)
            if before is None and count >= SUBSCRIPTIONS_MAX:
                raise LimitExceeded("too many threads are followed", retry_after_ms=60_000)
            if before is not None and caused_at is not None:
                if before.is_subscribed:
                    return
                if caused_at < before.position:
                    code = _PREFIX + "CONFLICTING_UNSUBSCRIPTION"
                    raise MatrixError("you have stopped to follow this thread since", errcode=code, status=409)
            if before is not None and before.is_subscribed and not before.is_automatic:
                return
            new = Subscription(room_id, root, True, cause is not None, write.position)
            await table.upsert(write.tx, user_id, new)
            write.publish("thread_subscription", user_ids=[user_id], payload=FollowChanged(user_id, root, True))
        if self.began is not None:
            await self.began(user_id, root)

    async def unsubscribe(self, user_id: UserId, room_id: RoomId, root: EventId) -> None:
        """Nothing where the user doesn't follow the thread. Raises NotFound for one that they may not see."""
        await self._history.event_of(user_id, room_id, root)
        async with self._journal.write() as write:
            await table.lock(write.tx, user_id)
            before = await table.one(write.tx, user_id, room_id, root)
            if before is None or not before.is_subscribed:
                return
            await table.upsert(write.tx, user_id, Subscription(room_id, root, False, False, write.position))
            write.publish("thread_subscription", user_ids=[user_id], payload=FollowChanged(user_id, root, False))

    async def changes(self, user_id: UserId, since: int, upto: int, limit: int) -> dict[str, Any]:
        """`subscribed`, `unsubscribed` and `prev_batch` as MSC4308 has them, of what changed in (since, upto]."""
        found = await table.changes(self._db, user_id, since, upto, limit + 1)
        answer: dict[str, Any] = {}
        for one in found[:limit]:
            told: dict[str, Any] = {"bump_stamp": one.position}
            if one.is_subscribed:
                told["automatic"] = one.is_automatic
            kind = "subscribed" if one.is_subscribed else "unsubscribed"
            answer.setdefault(kind, {}).setdefault(one.room_id, {})[one.root] = told
        if len(found) > limit > 0:
            answer["prev_batch"] = f"s{found[limit].position}"
        return answer
