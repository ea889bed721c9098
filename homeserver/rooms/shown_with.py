"""What is shown with an event in its `unsigned`: what it replaced as state, and what redacted it.

Both are events of their own, of which a viewer may see less than of the one that they are shown with: nothing of what
an erased user set goes to who came later, and no reason of a redaction to who had left before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.aggregations import RelationReads
from homeserver.rooms.read_gate import ErasedUsers
from homeserver.storage.events import StoredEvent


@dataclass(frozen=True, slots=True)
class Beside:
    """What one event replaced, and what redacted it."""

    replaced: Event | None = None
    redaction: Event | None = None


class ShownWith:
    """Finds it, and says what of it a viewer may see."""

    def __init__(self, reads: RelationReads, erased: ErasedUsers) -> None:
        self._reads = reads
        self._erased = erased

    async def of(self, stored: Sequence[StoredEvent]) -> dict[int, Beside]:
        """Of each event, by its number. One query at most."""
        wanted = {nid for event in stored for nid in (event.replaces, event.redacted_by) if nid is not None}
        others = await self._reads.store.by_nids(wanted) if wanted else {}
        return {
            event.nid: Beside(_event(others, event.replaces), _event(others, event.redacted_by)) for event in stored
        }

    async def hidden_from(self, viewer: UserId, stored: Sequence[StoredEvent]) -> Mapping[int, Beside]:
        """The same in the form that the viewer gets, for those of these rendered events where that isn't all of it.

        No query where none of the events is redacted, or replaces one of an erased user; else eight at most.
        """
        erased = await self._erased.erased()
        asked = [
            event
            for event in stored
            if event.redacted_by is not None or (erased and event.rendered and event.rendered[2] in erased)
        ]
        if not asked:
            return {}
        others = await self._reads.store.by_nids(
            {nid for event in asked for nid in (event.replaces, event.redacted_by) if nid is not None}
        )
        redactions = {event.redacted_by for event in asked}
        doubtful = [other for other in others.values() if other.nid in redactions or other.event.sender in erased]
        seen = await self._seen(viewer, doubtful)
        cut = {other.nid: other.event.redacted() for other in doubtful if other.nid not in seen}
        return {
            event.nid: Beside(
                cut.get(event.replaces or 0) or _event(others, event.replaces),
                cut.get(event.redacted_by or 0) or _event(others, event.redacted_by),
            )
            for event in asked
            if event.replaces in cut or event.redacted_by in cut
        }

    async def _seen(self, viewer: UserId, stored: Sequence[StoredEvent]) -> set[int]:
        """Those that the viewer sees in full."""
        if not stored:
            return set()
        by_room: dict[RoomId, list[StoredEvent]] = {}
        for event in stored:
            by_room.setdefault(event.event.room_id, []).append(event)
        rooms = await self._reads.rooms.get_many(list(by_room))
        await self._reads.gate.timelines(viewer, list(rooms.values()))
        seen: set[int] = set()
        for room_id, room in rooms.items():
            shown = await self._reads.gate.filter(viewer, room, by_room[room_id])
            whole = {id(event) for event in by_room[room_id]}
            seen.update(event.nid for event in shown if id(event) in whole)
        return seen


def _event(known: Mapping[int, StoredEvent], nid: int | None) -> Event | None:
    stored = known.get(nid) if nid is not None else None
    return stored.event if stored is not None else None
