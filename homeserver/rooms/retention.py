"""Messages expire where a room, or the server, says so (m.room.retention, MSC1763).

State doesn't, nor a room's newest event: the graph of events stays whole, and only what was said goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from homeserver.core import canonical_json
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.journal.journal import Journal
from homeserver.rooms.event_store import EventStore
from homeserver.runtime.clock import Clock
from homeserver.storage import room_retention
from homeserver.storage.database import Database
from homeserver.storage.room_retention import Aged, KeptRoom

EVERY_S = 300.0
ROOMS_AT_ONCE = 200
EVENTS_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionTimes:
    """In milliseconds; 0 is for ever. A room's own wish counts within `least` and `most`."""

    default: int
    least: int
    most: int

    def of(self, wish: int | None) -> int:
        """How long a room's messages are kept."""
        lifetime = max(wish, self.least) if wish else self.default
        return min(lifetime or self.most, self.most) if self.most else lifetime


class Retention:
    """A background task: `run` does one round over all rooms that have something to expire."""

    def __init__(
        self, db: Database, journal: Journal, event_store: EventStore, clock: Clock, times: RetentionTimes
    ) -> None:
        self._db = db
        self._journal = journal
        self._events = event_store
        self._clock = clock
        self._times = times

    async def run(self) -> None:
        await self.expire_due()
        await self._clock.sleep(EVERY_S)

    async def expire_due(self) -> None:
        """Goes through the rooms once."""
        with_own = self._times.default == 0 and self._times.most == 0
        after = 0
        while rooms := await room_retention.rooms(self._db, after, ROOMS_AT_ONCE, with_own=with_own):
            for room in rooms:
                lifetime = self._times.of(room.retention_ms)
                if lifetime:
                    await self._expire(room, self._clock.now_ms() - lifetime)
            after = rooms[-1].room_nid

    async def _expire(self, room: KeptRoom, before_ms: int) -> None:
        place = room.expired_upto
        while aged := await room_retention.page(self._db, room.room_nid, place, EVENTS_AT_ONCE):
            old, place_after = _old(aged, before_ms, place)
            if place_after == place:
                return
            version = ROOM_VERSIONS[room.version]
            left = {
                one.event_nid: canonical_json.encode(redact(version, canonical_json.decode(one.json)))
                for one in old
                if one.json is not None
            }
            async with self._journal.write() as write:
                await room_retention.expire(write.tx, room.room_nid, left, place_after)
                if left:
                    write.publish("redacted", room_id=room.room_id, payload=tuple(left))
            if left:
                self._events.redacted(list(left))
            place = place_after


def _old(aged: Sequence[Aged], before_ms: int, place: int) -> tuple[list[Aged], int]:
    """The messages of the page that are too old, and the place from which to look next time."""
    old = [one for one in aged if one.json is not None and one.said_ms < before_ms]
    for one in aged:
        if one.json is not None and one.said_ms >= before_ms:
            break
        place = one.place
    return [one for one in old if one.place <= place], place
