"""Events: their forms by room version, hashes, ids and signatures. spec: server-server-api/#signing-events

An `Event` is a value: nobody changes its PDU after it was made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, InvalidEvent
from homeserver.core.identifiers import (
    ID_BYTES_MAX,
    EventId,
    RoomId,
    UserId,
    domain_of,
    is_event_id,
    is_room_id,
    is_server_name,
    is_user_id,
)
from homeserver.core.redaction import redact
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.signing import Signer, encode_base64, encode_base64url

EVENT_BYTES_MAX = 65_536
PREV_EVENTS_MAX = 20
AUTH_EVENTS_MAX = 10
DEPTH_MAX = canonical_json.INT_MAX
# A content as deep as a client's request may be, in its event.
EVENT_DEPTH_MAX = canonical_json.DEPTH_MAX + 1

_NOT_HASHED = frozenset({"hashes", "signatures", "unsigned"})
_NOT_SIGNED = frozenset({"signatures", "unsigned"})

StateKey = tuple[str, str]
"""(type, state_key): what a state map is keyed by."""


class Event:
    """One event of a room, with what the core asks of it most made ready.

    `pdu` is the federation form without `unsigned`; `content` is its object. Both are to be read only.
    """

    __slots__ = (
        "_canonical",
        "auth_event_ids",
        "content",
        "depth",
        "event_id",
        "origin_server_ts",
        "pdu",
        "prev_event_ids",
        "room_id",
        "sender",
        "state_key",
        "type",
        "version",
    )

    def __init__(self, version: RoomVersion, pdu: dict[str, Any], event_id: EventId) -> None:
        """Takes a PDU whose form is known to be right: ours, a stored one, or one that passed `parse_pdu`."""
        self._canonical: bytes | None = None
        self.version = version
        self.pdu = pdu
        self.event_id = event_id
        self.type: str = pdu["type"]
        self.sender = UserId(pdu["sender"])
        self.state_key: str | None = pdu.get("state_key")
        self.content: dict[str, Any] = pdu["content"]
        self.origin_server_ts: int = pdu["origin_server_ts"]
        self.depth: int = pdu["depth"]
        if version.event_id_format is EventIdFormat.IN_EVENT:
            self.prev_event_ids: Sequence[EventId] = [reference[0] for reference in pdu["prev_events"]]
            self.auth_event_ids: Sequence[EventId] = [reference[0] for reference in pdu["auth_events"]]
        else:
            self.prev_event_ids = pdu["prev_events"]
            self.auth_event_ids = pdu["auth_events"]
        room_id = pdu.get("room_id")
        self.room_id = RoomId(room_id if room_id is not None else "!" + event_id[1:])

    def __repr__(self) -> str:
        return f"Event({self.event_id!r}, {self.type!r}, {self.state_key!r}, {self.sender!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and self.event_id == other.event_id

    def __hash__(self) -> int:
        return hash(self.event_id)

    @property
    def is_state(self) -> bool:
        return self.state_key is not None

    @property
    def key(self) -> StateKey:
        """(type, state_key). Only for state events."""
        assert self.state_key is not None
        return (self.type, self.state_key)

    @property
    def membership(self) -> str | None:
        """`content.membership` where it is a string."""
        value = self.content.get("membership")
        return value if isinstance(value, str) else None

    @property
    def redacts(self) -> str | None:
        """The event that this m.room.redaction names, from where the room version keeps it."""
        value = self.content.get("redacts") if self.version.redacts_in_content else self.pdu.get("redacts")
        return value if isinstance(value, str) else None

    @property
    def redacted_id(self) -> EventId | None:
        """The same as an id that an event can have: what else stands there names none, and can't be asked for."""
        value = self.redacts
        return EventId(str(value)) if is_event_id(value) else None

    @property
    def canonical(self) -> bytes:
        """The PDU as it is stored and sent to peers: canonical JSON, signatures included. Encoded once."""
        if self._canonical is None:
            self._canonical = _encode(self.version, self.pdu)
        return self._canonical

    def redacted(self) -> Event:
        """This event with its content redacted; the id stays the same."""
        return Event(self.version, redact(self.version, self.pdu), self.event_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """An event as its sender means it, before the room writer gives it its place in the room."""

    type: str
    sender: UserId
    content: dict[str, Any]
    state_key: str | None = None
    redacts: EventId | None = None
    origin_server_ts: int
    sticky_ms: int | None = None  # told for sure for so long (core.sticky)
    # Kept beside the event, never in it: the sender's device and transaction id, and what the caller wants remembered.
    extra: Mapping[str, Any] = field(default_factory=dict)


def _encode(version: RoomVersion, value: Any) -> bytes:
    """Canonical bytes; before version 6 a room may hold floats, which deployed servers write in their own way."""
    return canonical_json.encode(value) if version.strict_canonical_json else canonical_json.encode_lenient(value)


def content_hash(pdu: Mapping[str, Any], version: RoomVersion | None = None) -> str:
    """The base64 hash of all but `hashes`, `signatures` and `unsigned`. `version` matters only where floats may occur.

    spec: server-server-api/#calculating-the-content-hash-for-an-event
    """
    covered = {key: value for key, value in pdu.items() if key not in _NOT_HASHED}
    encoded = canonical_json.encode(covered) if version is None else _encode(version, covered)
    return encode_base64(hashlib.sha256(encoded).digest())


def is_content_intact(version: RoomVersion, pdu: Mapping[str, Any]) -> bool:
    """Whether the PDU's content hash is right. Where it isn't, the event is used in its redacted form.

    spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
    """
    hashes = pdu.get("hashes")
    return isinstance(hashes, dict) and hashes.get("sha256") == content_hash(pdu, version)


def parse_pdu(version: RoomVersion, pdu: Any) -> Event:
    """The event that a PDU from outside says, redacted where its content hash is wrong, without the peer's `unsigned`.

    Raises InvalidEvent. Signatures and authorisation are checked elsewhere. Cost: an encoding or three.
    """
    check_form(version, pdu)
    kept = {key: value for key, value in pdu.items() if key != "unsigned"}
    if not is_content_intact(version, kept):
        kept = redact(version, kept)
    return Event(version, kept, event_id_of(version, kept))


def signed_form(version: RoomVersion, pdu: dict[str, Any]) -> bytes:
    """The bytes that an event's signatures cover and, from version 3 on, that its id is the hash of."""
    kept = redact(version, pdu)
    return _encode(version, {key: value for key, value in kept.items() if key not in _NOT_SIGNED})


def reference_hash(signed: bytes) -> bytes:
    """The digest of `signed_form`'s bytes. spec: server-server-api/#calculating-the-reference-hash-for-an-event"""
    return hashlib.sha256(signed).digest()


def event_id_of(version: RoomVersion, pdu: dict[str, Any], signed: bytes | None = None) -> EventId:
    """The id of a PDU of this room version. Cost: one hash, plus one encoding where `signed` isn't given."""
    if version.event_id_format is EventIdFormat.IN_EVENT:
        return EventId(pdu["event_id"])
    digest = reference_hash(signed if signed is not None else signed_form(version, pdu))
    if version.event_id_format is EventIdFormat.HASH_BASE64:
        return EventId("$" + encode_base64(digest))
    return EventId("$" + encode_base64url(digest))


def sign_event(version: RoomVersion, pdu: dict[str, Any], signer: Signer, cosigner: Signer | None = None) -> Event:
    """The finished event of a PDU that has all but hashes and signatures. Changes `pdu`, which becomes the event's.

    `cosigner` is another key of the same server that signs too.
    Checks nothing: what it was made from has been checked.
    """
    pdu["hashes"] = {"sha256": content_hash(pdu, version)}
    signed = signed_form(version, pdu)
    keys = (signer,) if cosigner is None else (signer, cosigner)
    pdu["signatures"] = {signer.server_name: {key.key_id: key.signature(signed) for key in keys}}
    return Event(version, pdu, event_id_of(version, pdu, signed))


def references(version: RoomVersion, events: Sequence[tuple[EventId, str]]) -> list[Any]:
    """`prev_events` or `auth_events` as the room version writes them, from (event id, base64 reference hash) pairs."""
    if version.event_id_format is EventIdFormat.IN_EVENT:
        return [[event_id, {"sha256": digest}] for event_id, digest in events]
    return [event_id for event_id, _digest in events]


def check_form(version: RoomVersion, pdu: Any) -> None:
    """Raises InvalidEvent unless this is a PDU in the form of its room version: fields, types, grammar, sizes, numbers.

    spec: rooms/v12/#event-format, client-server-api/#size-limits. Hashes, signatures and auth are checked elsewhere.
    """
    if not isinstance(pdu, dict):
        raise InvalidEvent("a PDU must be an object")
    _check_fields(version, pdu)
    _check_ids(version, pdu)
    for key, most in (("prev_events", PREV_EVENTS_MAX), ("auth_events", AUTH_EVENTS_MAX)):
        _check_references(version, pdu, key, most)
    try:
        covered = {key: value for key, value in pdu.items() if key != "unsigned"}
        canonical_json.check_values(covered, depth_max=EVENT_DEPTH_MAX, lenient=not version.strict_canonical_json)
        size = len(_encode(version, covered))
    except BadJson as error:
        raise InvalidEvent(error.message) from None
    if size > EVENT_BYTES_MAX:
        raise InvalidEvent(f"an event may have {EVENT_BYTES_MAX} bytes, this one has {size}")


def _check_fields(version: RoomVersion, pdu: dict[str, Any]) -> None:
    _check_short_string(version, pdu, "type")
    if "state_key" in pdu:
        _check_short_string(version, pdu, "state_key")
    if not isinstance(pdu.get("content"), dict):
        raise InvalidEvent("content must be an object")
    # rooms/v6/#canonical-json: "the depth limit has been reduced in this room version"
    deepest = canonical_json.INT_MAX if version.strict_canonical_json else canonical_json.LENIENT_INT_MAX
    for key, lowest, highest in (("depth", 0, deepest), ("origin_server_ts", -DEPTH_MAX, DEPTH_MAX)):
        value = pdu.get(key)
        if type(value) is not int or not lowest <= value <= highest:
            raise InvalidEvent(f"{key} must be an integer within {lowest} and {highest}")
    hashes = pdu.get("hashes")
    if not isinstance(hashes, dict) or not isinstance(hashes.get("sha256"), str):
        raise InvalidEvent("hashes must be an object with sha256")
    signatures = pdu.get("signatures")
    if not isinstance(signatures, dict) or not all(isinstance(keys, dict) for keys in signatures.values()):
        raise InvalidEvent("signatures must be an object of objects")


def _check_ids(version: RoomVersion, pdu: dict[str, Any]) -> None:
    if not is_user_id(pdu.get("sender")):
        raise InvalidEvent("sender is no user id")
    room_id = str(pdu.get("room_id"))
    is_create = pdu["type"] == "m.room.create" and pdu.get("state_key") == ""
    if version.room_id_from_create_event and is_create:
        if "room_id" in pdu:
            raise InvalidEvent("a create event of this room version has no room_id")
    elif not is_room_id(room_id) or version.room_id_from_create_event == (":" in room_id):
        raise InvalidEvent("room_id is no room id of this room version")
    if version.event_id_format is EventIdFormat.IN_EVENT:
        event_id = str(pdu.get("event_id"))
        # The server that it names has to sign the event.
        if not is_event_id(event_id) or not is_server_name(domain_of(event_id)):
            raise InvalidEvent("event_id is no event id of this room version")


def _check_short_string(version: RoomVersion, pdu: dict[str, Any], key: str) -> None:
    value = pdu.get(key)
    if not isinstance(value, str):
        raise InvalidEvent(f"{key} must be a string")
    if len(value.encode("utf-8", "surrogatepass") if version.limits_in_bytes else value) > ID_BYTES_MAX:
        raise InvalidEvent(f"{key} may have {ID_BYTES_MAX} bytes")
    if "\x00" in value:
        raise InvalidEvent(f"{key} can't have NUL")


def _check_references(version: RoomVersion, pdu: dict[str, Any], key: str, most: int) -> None:
    entries = pdu.get(key)
    if not isinstance(entries, list) or len(entries) > most:
        raise InvalidEvent(f"{key} must be a list of at most {most}")
    for entry in entries:
        if version.event_id_format is EventIdFormat.IN_EVENT:
            if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[1], dict):
                raise InvalidEvent(f"{key} must hold [event id, hashes] pairs")
            entry = entry[0]
        if not is_event_id(entry):
            raise InvalidEvent(f"{key} must hold event ids")
