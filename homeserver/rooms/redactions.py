"""Which events redact which, whatever order they come in from other servers. spec: rooms/v3/#handling-redactions"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from homeserver.core.auth_rules import CREATE, POWER_LEVELS, PowerLevels
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, UserId
from homeserver.storage.early_redactions import EarlyRedaction
from homeserver.storage.events import NewEvent, StoredEvent

REDACTION = "m.room.redaction"

Known = Mapping[StateKey, Event | None]
Rule = Callable[[PowerLevels, str, Event], bool]


class Redactions:
    """Those of one batch of a room. `early` are the ones that came before and have waited for events of this batch.

    `applied` has what is redacted (by number) and by which; `redacted` what of it was here; `waiting` those of this
    batch whose targets aren't here; `met` the events whose wait is over.
    """

    def __init__(
        self, room_nid: int, early: Sequence[EarlyRedaction] = (), *, rule: Rule = PowerLevels.may_redact
    ) -> None:
        """`rule` says who may redact what, by the power levels: what we send asks more than what others may."""
        self.applied: dict[int, int] = {}
        self.redacted: list[StoredEvent] = []
        self.waiting: list[EarlyRedaction] = []
        self._room_nid = room_nid
        self._rule = rule
        self._early: dict[EventId, list[EarlyRedaction]] = {}
        self.met: list[EventId] = []
        for one in early:
            self._early.setdefault(one.target_id, []).append(one)

    def apply(self, event: Event, nid: int, target: StoredEvent | None, known: Known) -> StoredEvent | None:
        """What this redaction, which was accepted, redacts. It waits for a target (None) that isn't here."""
        if event.redacted_id is None:
            return None
        if target is None:
            one = EarlyRedaction(self._room_nid, event.redacted_id, event.sender, nid)
            self.waiting.append(one)
            self._early.setdefault(one.target_id, []).append(one)
            return None
        is_redacted = target.redacted_by is not None or target.nid in self.applied
        if target.room_nid != self._room_nid or is_redacted or not self._may(known, event.sender, target.event):
            return None
        self.applied[target.nid] = nid
        self.redacted.append(target)
        return target

    def of(self, event: Event, nid: int, known: Known) -> int | None:
        """The redaction that came before this event, which now has its place, and applies to it: its number."""
        early = self._early.get(event.event_id)
        if early is None:
            return None
        self.met.append(event.event_id)
        by = next((one.redaction_nid for one in early if self._may(known, one.sender, event)), None)
        if by is not None:
            self.applied[nid] = by
        return by

    def of_past(self, rows: Sequence[NewEvent], here: Mapping[EventId, StoredEvent], known: Known) -> None:
        """The same for events that are put back into the past. `here` are those that were here before."""
        accepted = [row for row in rows if not row.flags]
        new = {row.event.event_id: _as_stored(row) for row in accepted}
        for row in accepted:
            if row.event.type == REDACTION and (named := row.event.redacted_id) is not None:
                self.apply(row.event, row.nid, new.get(named) or here.get(named), known)
        for row in accepted:
            self.of(row.event, row.nid, known)

    def still_waiting(self) -> list[EarlyRedaction]:
        """Those of this batch whose targets haven't come in it either."""
        met = set(self.met)
        return [one for one in self.waiting if one.target_id not in met]

    def _may(self, known: Known, sender: UserId, target: Event) -> bool:
        """Whether the redaction of this sender, which the room's rules allowed, applies to this event.

        Their server may redact what its own users said; anything else takes the power. None applies to a create event:
        up to version 10 it would lose the room's version and whether it federates, and this server would judge by other
        rules than the rest. Nor to that by which a room is encrypted, or who may redact could have newcomers talk in
        the clear without the power to say so. `known` must have the room's create event and power levels.
        """
        if target.type == "m.room.create" or (target.type == "m.room.encryption" and target.state_key == ""):
            return False
        create = known.get(CREATE)
        if create is None:
            return sender == target.sender
        return self._rule(PowerLevels(create, known.get(POWER_LEVELS)), sender, target)


def _as_stored(row: NewEvent) -> StoredEvent:
    return StoredEvent(
        nid=row.nid, room_nid=row.room_nid, ordering=row.ordering, event=row.event, state_nid=row.state_nid,
        replaces=row.replaces, redacted_by=None, flags=row.flags, device_id=None, txn_id=None, size_bytes=len(row.json),
    )  # fmt: skip
