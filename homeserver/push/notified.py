"""The events that a user was notified of. spec: client-server-api/#listing-notifications

They are the places that unread counts are made of, so listing them needs no table of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core.identifiers import UserId
from homeserver.push.asking import Asking
from homeserver.push.rulesets import PushRulesets
from homeserver.push.tallies import MAIN
from homeserver.push.unread import Unread
from homeserver.rooms.aggregations import IgnoreList, RelationReads
from homeserver.storage.events import StoredEvent

LIMIT_MAX = 100
# What a user sent or ignores is passed over; after so many such pages the answer is shorter than asked for.
_ROUNDS_MAX = 5


@dataclass(frozen=True, slots=True)
class Notification:
    stored: StoredEvent
    actions: Sequence[Any]
    was_read: bool


class Notified:
    """Lists notifications, newest first."""

    def __init__(self, reads: RelationReads, unread: Unread, rulesets: PushRulesets, ignore_list: IgnoreList) -> None:
        self._reads = reads
        self._unread = unread
        self._rulesets = rulesets
        self._ignore_list = ignore_list

    async def page(
        self, user_id: UserId, before: int, limit: int, *, only_highlights: bool
    ) -> tuple[list[Notification], int | None]:
        """Up to `limit` of the events before a place, in the rooms that the user is in, and where to go on.

        `actions` are those of the rules as they are now. Some queries for what isn't in memory.
        """
        joined = await self._reads.rooms.joined_rooms(user_id)
        found: list[Notification] = []
        for _ in range(_ROUNDS_MAX):
            places = await self._unread.newest(user_id, joined, before, limit + 1, only_highlights=only_highlights)
            for one in await self._shown(user_id, dict(places[:limit])):
                found.append(one)
                if len(found) == limit:
                    return found, one.stored.nid
            if len(places) <= limit:
                return found, None
            before = places[limit - 1][0]
        return found, before

    async def _shown(self, user_id: UserId, places: dict[int, bool]) -> list[Notification]:
        """Those that the user may see, as they may, newest first: nothing of their own, nor of whom they ignore."""
        # An event's number is its place, but for the few that were known here before they got one.
        found_at = await self._reads.store.by_nids(places)
        unheard = {user_id, *await self._ignore_list.ignored_by(user_id)}
        stored = [event for event in found_at.values() if event.event.sender not in unheard]
        rooms = await self._reads.rooms.get_many({event.event.room_id for event in stored})
        rules = (await self._rulesets.compile_many([user_id]))[user_id]
        shown = [
            (event, Asking(room, event, MAIN))
            for room in rooms.values()
            for event in await self._reads.gate.filter(user_id, room, stored)
        ]
        await self._unread.take_followers([asking for _, asking in shown], rules)
        found = []
        for event, asking in shown:
            actions = asking.actions(rules, user_id)
            found.append(Notification(event, _plain(actions.actions if actions else ()), places[event.nid]))
        return sorted(found, key=_newest_first)


def _newest_first(notification: Notification) -> int:
    return -notification.stored.nid


def _plain(actions: Sequence[Any]) -> list[Any]:
    return [dict(action) if not isinstance(action, str) else action for action in actions]
