"""From drafts to what is to be written: the steps of the room writer between taking a batch and committing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from uuid import UUID

from immutables import Map

from homeserver.core.auth_rules import PowerLevels
from homeserver.core.errors import BadStateKey, Forbidden, InvalidEvent, MatrixError, RuleBroken, TooLarge
from homeserver.core.events import Draft, Event, StateKey
from homeserver.core.identifiers import DeviceId, EventId, RoomId, UserId, is_event_id
from homeserver.core.room import RoomHead, Unchanged, empty_room, extend, wanted_keys
from homeserver.core.room_versions import RoomVersion
from homeserver.core.signing import Signer
from homeserver.rooms.committer import Batch
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.redactions import REDACTION, Redactions
from homeserver.rooms.residents import USUAL_KEYS, Room, Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.runtime.ids import Randomness
from homeserver.storage.events import NewEvent, StoredEvent
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.relations import row_of
from homeserver.storage.rooms import Heads, RoomRow
from homeserver.storage.states import Line, first_line

# More looked-up state than this is dropped from memory again; the usual keys stay.
KNOWN_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Sender:
    """Whose device sent a draft under which transaction id: kept beside the event, shown to that device alone."""

    device_id: DeviceId | None
    txn_id: str
    key: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """The payload of the journal's entries of kind `event`. `room` is the room once the whole batch is in."""

    stored: StoredEvent
    room: Room
    replaced: Event | None = None
    membership_before: str | None = None
    redacts: StoredEvent | None = None  # the event that this one redacted, as it was before
    is_entry: bool = False  # by which this server came into the room: the server that let it in tells the others

    @property
    def event(self) -> Event:
        return self.stored.event

    @property
    def event_nid(self) -> int:
        return self.stored.nid


# The kind of a journal's entry about events that came in before the beginning of a timeline: a tuple of Past.
PAST = "past"


@dataclass(frozen=True, slots=True)
class Past:
    """An event that was put back into its place."""

    nid: int
    event: Event


@dataclass(slots=True)
class Made:
    """What one command's drafts became: events in their order, or why they are refused (all of them)."""

    events: list[Event] = field(default_factory=list)
    new: list[Event] = field(default_factory=list)  # those of `events` that must be written
    refusal: MatrixError | None = None


@dataclass(slots=True)
class Built:
    """A batch ready to be committed, and what to tell when it is."""

    room: Room
    batch: Batch
    written: list[Written]
    changes: dict[int, int]
    redacted: list[StoredEvent]
    promoted: list[int] = field(default_factory=list)


def as_matrix_error(refusal: RuleBroken | InvalidEvent) -> MatrixError:
    """The spec's error for a draft that can't become an event of its room."""
    if isinstance(refusal, BadStateKey):
        return MatrixError(refusal.reason, errcode="M_BAD_JSON")
    if isinstance(refusal, RuleBroken):
        return Forbidden(refusal.reason)
    return TooLarge(str(refusal)) if "bytes" in str(refusal) else MatrixError(str(refusal), errcode="M_BAD_JSON")


class WriteSteps:
    """Looks up what the core needs, lets it decide, and turns its events into rows."""

    def __init__(
        self, rooms: Rooms, event_store: EventStore, numbers: StateNumbers, signer: Signer, randomness: Randomness
    ) -> None:
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers
        self._signer = signer
        self._randomness = randomness

    async def make(self, room: Room, commands: Sequence[Sequence[Draft]]) -> tuple[Room, RoomHead, list[Made]]:
        """Each command's drafts on top of the ones before. A command is taken whole or not at all."""
        keys = {key for drafts in commands for draft in drafts for key in wanted_keys(room.version, draft)}
        room = await self._rooms.with_known(_trimmed(room), keys)
        head, made = room.head, []
        for drafts in commands:
            head, result = self._extend(head, drafts)
            made.append(result)
        return room, head, made

    def make_new(self, version: RoomVersion, room_id: RoomId | None, drafts: Sequence[Draft]) -> tuple[RoomHead, Made]:
        """The events of a room that doesn't exist yet."""
        keys = {key for draft in drafts for key in wanted_keys(version, draft)} | set(USUAL_KEYS)
        head = empty_room(version, room_id).knowing((key, None) for key in keys)
        return self._extend(head, drafts)

    async def targets(self, drafts: Sequence[Draft]) -> dict[EventId, StoredEvent]:
        """The events that these drafts redact, where they are here."""
        named = {target for draft in drafts if draft.type == "m.room.redaction" and (target := _redacts(draft))}
        return await self._events.by_ids(named) if named else {}

    async def build(
        self,
        room: Room | None,
        head: RoomHead,
        made: Sequence[tuple[Made, Sender | None]],
        first: int,
        targets: Mapping[EventId, StoredEvent],
    ) -> Built:
        """The rows of what was made, numbered from `first` on. `room` is None for a new one."""
        new = [(event, sender) for result, sender in made for event in result.new]
        numbers = await self._numbers.give([event.key for event, _ in new if event.is_state])
        rows = _Rows(room, head, numbers, first)
        for event, sender in new:
            rows.add(event, sender, targets)
        built = rows.built()
        built.batch.state_keys = self._numbers.unsaved([event.key for event, _ in new if event.is_state])
        return built

    def committed(self, built: Built) -> None:
        """Brings memory up to what is now durable."""
        self._numbers.saved(built.batch.state_keys)
        self._events.promoted(built.promoted)
        if built.batch.early:
            self._events.early_redactions_wait(built.room.nid)
        self._events.put(written.stored for written in built.written)
        if built.redacted:
            self._events.redacted([stored.nid for stored in built.redacted])
        self._rooms.put(built.room, built.changes)

    def _extend(self, head: RoomHead, drafts: Sequence[Draft]) -> tuple[RoomHead, Made]:
        after, outcomes = extend(head, drafts, self._signer, self._new_event_id)
        result = Made()
        for outcome in outcomes:
            if isinstance(outcome, RuleBroken | InvalidEvent):
                return head, Made(refusal=as_matrix_error(outcome))
            if isinstance(outcome, Unchanged):
                result.events.append(outcome.event)
            else:
                result.events.append(outcome)
                result.new.append(outcome)
        return after, result

    def _new_event_id(self) -> EventId:
        return EventId(f"${self._randomness.letters(18)}:{self._signer.server_name}")


class _Rows:
    """Gathers the rows of one batch, following the room from event to event."""

    def __init__(self, room: Room | None, head: RoomHead, numbers: Mapping[StateKey, int], first: int) -> None:
        self._head = head
        self._numbers = numbers
        self._nid = first
        self._room_nid = room.nid if room else first
        self._line: Line | None = room.line if room else None
        self._nids: Map[StateKey, int] = room.nids if room else Map()
        self._members: Map[UserId, str] = room.members if room else Map()
        self._joined = room.joined if room else 0
        self._known = room.head.known if room else Map()
        self._newest = room.newest if room else 0
        self._is_new = room is None
        self._before = room
        self._batch = Batch()
        self._memberships: dict[tuple[int, str], MembershipRow] = {}
        self._redactions = Redactions(self._room_nid, rule=PowerLevels.may_request_redaction)
        self._changes: dict[int, int] = {}
        self._pending: list[tuple[StoredEvent, Event | None, str | None, StoredEvent | None]] = []

    def add(self, event: Event, sender: Sender | None, targets: Mapping[EventId, StoredEvent]) -> None:
        nid, self._nid = self._nid, self._nid + 1
        state_before = self._line.nid if self._line else None
        replaced, replaces, key_nid, before = None, None, None, None
        if event.is_state:
            key = event.key
            replaced, replaces, key_nid = self._known.get(key), self._nids.get(key), self._numbers[key]
            self._set_state(key, event, nid, key_nid)
            if event.type == "m.room.member":
                before = self._set_member(event, nid)
        json = event.canonical
        row = NewEvent(
            nid=nid, room_nid=self._room_nid, ordering=nid, event=event, state_nid=state_before, replaces=replaces,
            key_nid=key_nid, device_id=sender.device_id if sender else None, txn_id=sender.txn_id if sender else None,
            txn_key=sender.key if sender else None, json=json,
        )  # fmt: skip
        stored = StoredEvent(
            nid=nid, room_nid=self._room_nid, ordering=nid, event=event, state_nid=state_before, replaces=replaces,
            redacted_by=None, flags=0, device_id=row.device_id, txn_id=row.txn_id, size_bytes=len(json),
        )  # fmt: skip
        self._batch.events.append(row)
        relation = row_of(event, nid, self._room_nid)
        if relation is not None:
            self._batch.relations.append(relation)
        target = self._redact(event, nid, targets) if event.type == REDACTION else None
        self._newest = nid
        self._pending.append((stored, replaced, before, target))

    def built(self) -> Built:
        assert self._line is not None
        room = Room(
            nid=self._room_nid,
            head=replace(self._head, known=self._known),
            line=self._line,
            nids=self._nids,
            members=self._members,
            joined=self._joined,
            newest=self._newest,
            has_own_heads=len(self._head.heads) > 1,
            head_nids=self._head_nids(),
            partial=self._before.partial if self._before else None,
            whole_at=self._before.whole_at if self._before else 0,
            awaiting=self._before.awaiting if self._before else None,
        )
        if room.has_own_heads:
            self._batch.heads = Heads(self._room_nid, list(room.head_nids.values()), room.line.nid)
        elif self._before is not None and self._before.has_own_heads:
            # The newest event has joined the branches: it says both again.
            self._batch.heads = Heads(self._room_nid, None, None)
        self._batch.memberships = self._memberships
        self._batch.redactions, self._batch.early = self._redactions.applied, self._redactions.waiting
        if self._is_new:
            create = self._batch.events[0].event
            self._batch.new_room = RoomRow(
                nid=self._room_nid, room_id=room.room_id, version=room.version, creator=create.sender,
                is_published=False, forward_extremities=None, state_nid=None,
            )  # fmt: skip
        written = [
            Written(stored=stored, room=room, replaced=replaced, membership_before=before, redacts=target)
            for stored, replaced, before, target in self._pending
        ]
        return Built(room, self._batch, written, self._changes, self._redactions.redacted)

    def _head_nids(self) -> dict[EventId, int]:
        """The numbers of the forward extremities, where the newest event hasn't joined all of them."""
        if len(self._head.heads) == 1:
            return {}
        known = {stored.event.event_id: stored.nid for stored, *_ in self._pending}
        if self._before is not None:
            known.update(self._before.head_nids)
        return {head.event_id: known[head.event_id] for head in self._head.heads}

    def _set_state(self, key: StateKey, event: Event, nid: int, key_nid: int) -> None:
        change = {key_nid: nid}
        self._line = self._line.next(nid, change) if self._line else first_line(nid, change)
        self._batch.states.append(self._line.rows[0])
        self._nids = self._nids.set(key, nid)
        self._known = self._known.set(key, event)
        self._changes[key_nid] = nid

    def _set_member(self, event: Event, nid: int) -> str | None:
        assert event.state_key is not None
        user_id, membership = UserId(event.state_key), event.membership or "leave"
        before = self._members.get(user_id)
        self._members = self._members.set(user_id, membership)
        self._joined += (membership == "join") - (before == "join")
        self._memberships[self._room_nid, user_id] = MembershipRow(self._room_nid, user_id, membership, nid)
        return before

    def _redact(self, event: Event, nid: int, targets: Mapping[EventId, StoredEvent]) -> StoredEvent | None:
        """Marks the target where the redaction applies. spec: rooms/v3/#handling-redactions"""
        named = targets.get(event.redacted_id or EventId(""))
        target = self._redactions.apply(event, nid, named, self._known)
        if target is None:
            return None
        if target.event.is_state:
            current = self._known.get(target.event.key)
            if current is not None and current.event_id == target.event.event_id:
                self._known = self._known.set(target.event.key, target.event.redacted())
        return target


def _redacts(draft: Draft) -> EventId | None:
    if draft.redacts is not None:
        return draft.redacts
    named = draft.content.get("redacts")
    return EventId(str(named)) if is_event_id(named) else None


def _trimmed(room: Room) -> Room:
    if len(room.head.known) <= KNOWN_MAX:
        return room
    usual = {key: room.head.known[key] for key in USUAL_KEYS if key in room.head.known}
    nids = {key: room.nids[key] for key in USUAL_KEYS if key in room.nids}
    return replace(room, head=replace(room.head, known=Map(usual)), nids=Map(nids))
