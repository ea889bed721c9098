"""Room versions 1 to 12, and two on trial, as data: each difference is a field, named with what introduced it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from types import MappingProxyType

from homeserver.core.errors import UnsupportedRoomVersion


class EventIdFormat(Enum):
    """How an event is named. spec: rooms/v1, rooms/v3/#event-ids, rooms/v4/#event-ids"""

    IN_EVENT = "in_event"  # the sender chose it and put it into the PDU
    HASH_BASE64 = "hash_base64"
    HASH_BASE64URL = "hash_base64url"


class StateResolution(Enum):
    V1 = "v1"
    V2 = "v2"
    V2_1 = "v2.1"


ALL_CONTENT = frozenset({"*"})

_KEPT_TOP_LEVEL = frozenset(
    "event_id type room_id sender state_key content hashes signatures depth prev_events prev_state auth_events "
    "origin origin_server_ts membership".split()
)
_KEPT_CONTENT_V1: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "m.room.member": frozenset({"membership"}),
        "m.room.create": frozenset({"creator"}),
        "m.room.join_rules": frozenset({"join_rule"}),
        "m.room.power_levels": frozenset(
            "ban events events_default kick redact state_default users users_default".split()
        ),
        "m.room.aliases": frozenset({"aliases"}),
        "m.room.history_visibility": frozenset({"history_visibility"}),
    }
)


def _kept(base: Mapping[str, frozenset[str]], **changes: frozenset[str] | None) -> Mapping[str, frozenset[str]]:
    merged = dict(base)
    for name, keys in changes.items():
        event_type = "m.room." + name
        if keys is None:
            merged.pop(event_type)
        else:
            merged[event_type] = keys
    return MappingProxyType(merged)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomVersion:
    """The rules in force in rooms of one version."""

    id: str
    event_id_format: EventIdFormat = EventIdFormat.IN_EVENT
    state_resolution: StateResolution = StateResolution.V1
    # rooms/v3/#handling-redactions: before, rule 11.2 let the sender's server redact its own events.
    redaction_auth_by_event_id_domain: bool = True
    key_validity_enforced: bool = False  # rooms/v5/#signing-key-validity-period
    aliases_auth_special: bool = True  # dropped by rooms/v6/#authorisation-rules
    strict_canonical_json: bool = False  # rooms/v6/#canonical-json
    notifications_power_checked: bool = False  # rooms/v6/#authorisation-rules
    knocking: bool = False  # rooms/v7/#authorisation-rules
    restricted_joins: bool = False  # rooms/v8/#authorisation-rules
    knock_restricted: bool = False  # rooms/v10/#authorisation-rules
    integer_power_levels_only: bool = False  # rooms/v10/#values-in-mroompower_levels-events-must-be-integers
    creator_in_create_content: bool = True  # rooms/v11/#remove-the-creator-property-of-mroomcreate-events
    redacts_in_content: bool = False  # rooms/v11/#event-format-1
    # Before, deployed servers count characters: an event that they have must not be missing here.
    limits_in_bytes: bool = False
    redaction_keeps_third_party_signed: bool = False  # rooms/v11/#redactions
    room_id_from_create_event: bool = False  # rooms/v12/#event-format-1
    creators_have_infinite_power: bool = False  # rooms/v12/#authorisation-rules
    # MSC3757: a state key may be a user id with something behind it, and those with more power may set it.
    owned_state: bool = False
    kept_top_level: frozenset[str] = _KEPT_TOP_LEVEL
    kept_content: Mapping[str, frozenset[str]] = field(default_factory=lambda: _KEPT_CONTENT_V1, compare=False)
    stable: bool = True


V1 = RoomVersion(id="1")
V2 = replace(V1, id="2", state_resolution=StateResolution.V2)
V3 = replace(V2, id="3", event_id_format=EventIdFormat.HASH_BASE64, redaction_auth_by_event_id_domain=False)
V4 = replace(V3, id="4", event_id_format=EventIdFormat.HASH_BASE64URL)
V5 = replace(V4, id="5", key_validity_enforced=True)
V6 = replace(
    V5,
    id="6",
    aliases_auth_special=False,
    strict_canonical_json=True,
    notifications_power_checked=True,
    kept_content=_kept(V5.kept_content, aliases=None),
)
V7 = replace(V6, id="7", knocking=True)
V8 = replace(
    V7,
    id="8",
    restricted_joins=True,
    kept_content=_kept(V7.kept_content, join_rules=frozenset({"join_rule", "allow"})),
)
V9 = replace(
    V8,
    id="9",
    kept_content=_kept(V8.kept_content, member=frozenset({"membership", "join_authorised_via_users_server"})),
)
V10 = replace(V9, id="10", knock_restricted=True, integer_power_levels_only=True)
V11 = replace(
    V10,
    id="11",
    creator_in_create_content=False,
    redacts_in_content=True,
    limits_in_bytes=True,
    redaction_keeps_third_party_signed=True,
    kept_top_level=_KEPT_TOP_LEVEL - {"prev_state", "origin", "membership"},
    kept_content=_kept(
        V10.kept_content,
        create=ALL_CONTENT,
        redaction=frozenset({"redacts"}),
        power_levels=V10.kept_content["m.room.power_levels"] | {"invite"},
    ),
)
V12 = replace(
    V11,
    id="12",
    state_resolution=StateResolution.V2_1,
    room_id_from_create_event=True,
    creators_have_infinite_power=True,
)

# As others that try the proposal call them.
MSC3757_V10 = replace(V10, id="org.matrix.msc3757.10", owned_state=True, stable=False)
MSC3757_V11 = replace(V11, id="org.matrix.msc3757.11", owned_state=True, stable=False)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {version.id: version for version in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12, MSC3757_V10, MSC3757_V11)}
)


def room_version(version_id: object) -> RoomVersion:
    """The record of this version. Raises UnsupportedRoomVersion."""
    version = ROOM_VERSIONS.get(version_id) if isinstance(version_id, str) else None
    if version is None:
        raise UnsupportedRoomVersion(f"room version must be one of {', '.join(ROOM_VERSIONS)}")
    return version
