"""What of the sticky events a sync tells beside the timelines (MSC4354)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import orjson

from homeserver.core.filters import compile_room_filter
from homeserver.core.identifiers import RoomId
from homeserver.rooms.client_events import ClientEvents, Viewer
from homeserver.rooms.places import place_token
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import UserRoom
from homeserver.sync.room_sections import Span, as_wanted
from homeserver.sync.sources import Sticking, StickySource

SECTION = "msc4354_sticky"
# So many in one answer; the token then says up to where they were told.
AT_ONCE = 100
# Of rooms that the client hears of for the first time all are told at once, up to this.
OF_NEW_ROOMS = 1_000


class StickySections:
    """Adds them to the rooms of an answer. Who may see a room's history doesn't matter: members see what sticks."""

    def __init__(self, source: StickySource, client_events: ClientEvents) -> None:
        self._source = source
        self._client_events = client_events

    async def add(
        self,
        span: Span,
        since: int,
        entries: Mapping[RoomId, UserRoom],
        rooms: dict[str, Any],
        left_out: tuple[Collection[int], Collection[str]],
    ) -> int:
        """Up to where they are told now; `since`: up to where the client has been told.

        `left_out`: event numbers that the answer's timelines have, and senders whom the client doesn't want to hear.
        """
        passes = compile_room_filter(span.wanted.room)
        joined = {
            room_id: entry for room_id, entry in self._lively(span, since, entries) if passes is None or passes(room_id)
        }
        new = [room_id for room_id, entry in joined.items() if span.since and entry.event_nid > span.since]
        known = [room_id for room_id in joined if room_id not in new]
        found, upto = await self._source.told(known, since, span.upto, AT_ONCE)
        if new:
            found = [*found, *(await self._source.told(new, 0, span.upto, OF_NEW_ROOMS))[0]]
        stored = _without(found, left_out)
        if stored:
            rendered = await self._client_events.render(stored, span.viewer, with_room_id=False, membership="join")
            for one, event in zip(stored, as_wanted(rendered, stored, span.wanted), strict=True):
                room = rooms.setdefault("join", {}).setdefault(one.event.room_id, _quiet_room(span.upto))
                room.setdefault(SECTION, {"events": []})["events"].append(event)
        return upto

    def _lively(self, span: Span, since: int, entries: Mapping[RoomId, UserRoom]) -> list[tuple[RoomId, UserRoom]]:
        """Joined rooms that have some to tell."""
        found = self._source.lively(0, entries)
        told = set(self._source.lively(since, entries))
        return [
            (room_id, entry)
            for room_id in found
            if (entry := entries[room_id]).membership == "join" and (room_id in told or entry.event_nid > span.since)
        ]


async def told_by_extension(
    source: StickySource,
    client_events: ClientEvents,
    viewer: Viewer,
    rooms: Collection[RoomId],
    span: tuple[int, int, int],
    left_out: tuple[Collection[int], Collection[str]],
) -> tuple[dict[RoomId, dict[str, list[orjson.Fragment]]], int]:
    """The same for sliding sync: the events by room, and up to where. `span`: since, upto, and how many at most."""
    since, upto, limit = span
    found, told = await source.told(rooms, since, upto, limit)
    stored = _without(found, left_out)
    rendered = await client_events.render(stored, viewer, with_room_id=False, membership="join") if stored else []
    answer: dict[RoomId, dict[str, list[orjson.Fragment]]] = {}
    for one, event in zip(stored, rendered, strict=True):
        answer.setdefault(one.event.room_id, {"events": []})["events"].append(event)
    return answer, told


def _without(found: Sequence[Sticking], left_out: tuple[Collection[int], Collection[str]]) -> list[StoredEvent]:
    shown, senders = left_out
    return [one.stored for one in found if one.stored.nid not in shown and one.stored.event.sender not in senders]


def _quiet_room(upto: int) -> dict[str, Any]:
    """A joined room in which nothing else happened."""
    return {
        "timeline": {"events": [], "limited": False, "prev_batch": place_token(upto)},
        "state": {"events": []},
        "ephemeral": {"events": []},
        "account_data": {"events": []},
        "summary": {},
    }
