"""Who follows a thread, for push rules that ask that (MSC4306): in memory for the threads that are spoken in."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping

from homeserver.core.identifiers import EventId, UserId
from homeserver.rooms.thread_subscriptions import FollowChanged
from homeserver.storage import thread_subscriptions
from homeserver.storage.database import Database

THREADS_MAX = 10_000


class FollowersThen:
    """Who followed a thread when an event came: who began later isn't in it."""

    def __init__(self, since: Mapping[UserId, int], position: int) -> None:
        self._since = since
        self._position = position

    def __contains__(self, user_id: object) -> bool:
        since = self._since.get(user_id)  # type: ignore[call-overload]
        return since is not None and since < self._position


class ThreadFollowers:
    """Loads them once a thread. Give it every change by `hear`, in the journal's order."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._known: OrderedDict[EventId, dict[UserId, int]] = OrderedDict()
        self._loading: dict[EventId, list[tuple[FollowChanged, int]]] = {}

    def known(self, root: EventId | None) -> Mapping[UserId, int] | None:
        """Each since when, as a place in the journal; None where they would have to be loaded first."""
        found = self._known.get(root) if root is not None else None
        if found is not None and root is not None:
            self._known.move_to_end(root)
        return found

    async def load(self, roots: Collection[EventId]) -> Mapping[EventId, Mapping[UserId, int]]:
        """Of each of these threads, from memory or by one query for all."""
        found: dict[EventId, Mapping[UserId, int]] = {}
        missing: dict[EventId, list[tuple[FollowChanged, int]]] = {}
        for root in roots:
            known = self.known(root)
            if known is not None:
                found[root] = known
            else:
                # What is heard while the query runs may be in its answer or not: done once more, it changes nothing.
                missing[root] = self._loading.setdefault(root, [])
        if not missing:
            return found
        try:
            read = await thread_subscriptions.followers(self._db, missing)
        finally:
            for root in missing:
                self._loading.pop(root, None)
        for root, missed in missing.items():
            found[root] = followers = self._known[root] = dict(read.get(root, {}))
            for change, position in missed:
                _apply(followers, change, position)
        while len(self._known) > THREADS_MAX:
            self._known.popitem(last=False)
        return found

    def hear(self, change: FollowChanged, position: int) -> None:
        """Somebody follows a thread, or no longer does, since this place in the journal."""
        known = self._known.get(change.root)
        if known is not None:
            _apply(known, change, position)
        if change.root in self._loading:
            self._loading[change.root].append((change, position))


def _apply(followers: dict[UserId, int], change: FollowChanged, position: int) -> None:
    if change.is_subscribed:
        followers.setdefault(change.user_id, position)
    else:
        followers.pop(change.user_id, None)
