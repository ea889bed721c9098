"""A room as its writer sees it, and how drafts extend it: values in, values out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from immutables import Map

from homeserver.core.auth_rules import CREATE, auth_keys, check_auth
from homeserver.core.errors import BadJson, InvalidEvent, RuleBroken
from homeserver.core.events import (
    DEPTH_MAX,
    EVENT_BYTES_MAX,
    PREV_EVENTS_MAX,
    Draft,
    Event,
    StateKey,
    reference_hash,
    references,
    sign_event,
    signed_form,
)
from homeserver.core.identifiers import ID_BYTES_MAX, EventId, RoomId
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.signing import Signer, encode_base64
from homeserver.core.sticky import DURATION_MS_MAX
from homeserver.core.sticky import FIELD as STICKY

Known = Map[StateKey, Event | None]

# spec: server-server-api/#policy-servers
POLICY = ("m.room.policy", "")


# An event that does nothing but cite many others, so that the room has fewer ends. Other servers know it by this name.
KNOT = "org.matrix.dummy_event"


@dataclass(frozen=True, slots=True)
class Head:
    """A forward extremity: the id, and the reference hash (base64) where the room version writes it."""

    event_id: EventId
    digest: str = ""

    @classmethod
    def of(cls, event: Event) -> Head:
        if event.version.event_id_format is not EventIdFormat.IN_EVENT:
            return cls(event.event_id)
        return cls(event.event_id, digest_of(event))


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomHead:
    """Where a room's graph ends and what is known of the state there.

    `known` maps a key to its state event, or to None where it is known that there is none; a key that isn't in it has
    not been looked up. `room_id` is None until the create event gives it (version 12).

    `cited` is how many of the heads, from the last, the state is that of: the next event cites these and no others, so
    that whoever gets it finds the state that it was made on. The others wait (`is_gathered`).
    """

    version: RoomVersion
    room_id: RoomId | None
    heads: tuple[Head, ...]
    depth: int
    known: Known
    cited: int = PREV_EVENTS_MAX

    @property
    def cited_heads(self) -> tuple[Head, ...]:
        """What the next event cites: all forward extremities, or some where they are too many."""
        return self.heads[-self.cited :]

    @property
    def is_gathered(self) -> bool:
        """Whether the next event cites as many heads as it may."""
        return len(self.cited_heads) == min(len(self.heads), PREV_EVENTS_MAX)

    def with_event(self, event: Event) -> RoomHead:
        """The room once this event has taken the place of the forward extremities that it cites."""
        known = self.known.set(event.key, event) if event.is_state else self.known
        left = self.heads[: -self.cited]
        return RoomHead(
            version=self.version,
            room_id=event.room_id,
            heads=(*left, Head.of(event)),
            depth=max(self.depth, event.depth),
            known=known,
            cited=1 if left else PREV_EVENTS_MAX,
        )

    def knowing(self, found: Iterable[tuple[StateKey, Event | None]]) -> RoomHead:
        """The same room with more of its state looked up."""
        return replace(self, known=self.known.update(dict(found)))


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A draft that would set what is already set: no event is made, `event` stands for it."""

    event: Event


Outcome = Event | Unchanged | RuleBroken | InvalidEvent


def empty_room(version: RoomVersion, room_id: RoomId | None) -> RoomHead:
    """A room before its create event."""
    return RoomHead(version=version, room_id=room_id, heads=(), depth=0, known=Map())


def wanted_keys(version: RoomVersion, draft: Draft) -> set[StateKey]:
    """The state that `extend` must know for this draft."""
    keys = set(
        auth_keys(version, type=draft.type, sender=draft.sender, state_key=draft.state_key, content=draft.content)
    )
    if draft.type != CREATE[0]:
        keys.add(CREATE)
    if draft.state_key is not None:
        keys.add((draft.type, draft.state_key))
    return keys


def extend(
    room: RoomHead, drafts: Sequence[Draft], signer: Signer, new_event_id: Callable[[], EventId]
) -> tuple[RoomHead, list[Outcome]]:
    """The room after these drafts, and what became of each. A refused draft changes nothing."""
    outcomes: list[Outcome] = []
    for draft in drafts:
        try:
            outcome = _unchanged(room, draft) or _make(room, draft, signer, new_event_id)
        except (RuleBroken, InvalidEvent) as refusal:
            outcomes.append(refusal)
            continue
        if isinstance(outcome, Event):
            room = room.with_event(outcome)
        outcomes.append(outcome)
    return room, outcomes


def _unchanged(room: RoomHead, draft: Draft) -> Unchanged | None:
    if draft.state_key is None or draft.sticky_ms is not None:
        return None  # what sticks is said anew, to last longer
    current = room.known.get((draft.type, draft.state_key))
    if current is None or current.sender != draft.sender or current.content != draft.content:
        return None
    return Unchanged(current)


def _make(room: RoomHead, draft: Draft, signer: Signer, new_event_id: Callable[[], EventId]) -> Event:
    _check_sizes(draft)
    content = draft.content
    if draft.redacts is not None and room.version.redacts_in_content:
        content = {**content, "redacts": draft.redacts}
    state = {key: event for key in wanted_keys(room.version, draft) if (event := room.known[key]) is not None}
    keys = auth_keys(
        room.version, type=draft.type, sender=draft.sender, state_key=draft.state_key, content=draft.content
    )
    auth_events = [Head.of(state[key]) for key in keys if key in state]
    pdu: dict[str, Any] = {
        "type": draft.type,
        "sender": draft.sender,
        "content": content,
        "origin_server_ts": draft.origin_server_ts,
        "depth": min(room.depth + 1, DEPTH_MAX),
        "prev_events": references(room.version, [(head.event_id, head.digest) for head in room.cited_heads]),
        "auth_events": references(room.version, [(head.event_id, head.digest) for head in auth_events]),
    }
    if room.room_id is not None:
        pdu["room_id"] = room.room_id
    if draft.state_key is not None:
        pdu["state_key"] = draft.state_key
    if draft.sticky_ms is not None:
        pdu[STICKY] = {"duration_ms": min(draft.sticky_ms, DURATION_MS_MAX)}
    if draft.redacts is not None and not room.version.redacts_in_content:
        pdu["redacts"] = draft.redacts
    if room.version.event_id_format is EventIdFormat.IN_EVENT:
        pdu["event_id"] = new_event_id()
        pdu["origin"] = signer.server_name
    try:
        event = sign_event(room.version, pdu, signer, _policy_key(room, draft, signer))
        size = len(event.canonical)
    except BadJson as error:
        raise InvalidEvent(error.message) from None
    if size > EVENT_BYTES_MAX:
        raise InvalidEvent(f"an event may have {EVENT_BYTES_MAX} bytes, this one would have {size}")
    check_auth(event, state)
    return event


def _policy_key(room: RoomHead, draft: Draft, signer: Signer) -> Signer | None:
    """The key by which this server says that it has looked at an event, where it is the room's policy server."""
    policy = room.known.get(POLICY)
    if policy is None or signer.policy is None or (draft.type, draft.state_key) == POLICY:
        return None
    return signer.policy if policy.content.get("via") == signer.server_name else None


def _check_sizes(draft: Draft) -> None:
    for name, value in (("type", draft.type), ("state_key", draft.state_key or "")):
        if len(value.encode()) > ID_BYTES_MAX:
            raise InvalidEvent(f"{name} may have {ID_BYTES_MAX} bytes")
        if "\x00" in value:
            raise InvalidEvent(f"{name} must not hold NUL")


def digest_of(event: Event) -> str:
    """An event's reference hash as versions 1 and 2 write it beside its id."""
    return encode_base64(reference_hash(signed_form(event.version, event.pdu)))
