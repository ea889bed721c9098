"""What a new room begins with, before its creator says otherwise. spec: client-server-api/#creation"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import UserId
from homeserver.core.room_versions import RoomVersion

TOMBSTONE_LEVEL = 150


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    join_rule: str
    guest_access: str | None  # None: not said, and so forbidden
    history_visibility: str = "shared"
    invite_level: int = 50
    trusts_invitees: bool = False


PRESETS: Mapping[str, Preset] = {
    "private_chat": Preset(join_rule="invite", guest_access="can_join", invite_level=0),
    "trusted_private_chat": Preset(join_rule="invite", guest_access="can_join", invite_level=0, trusts_invitees=True),
    "public_chat": Preset(join_rule="public", guest_access=None),
}


def power_levels(
    version: RoomVersion,
    creator: UserId,
    preset: Preset,
    invitees: Collection[UserId],
    override: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The first power levels, with `power_level_content_override` on top.

    From room version 12 on, creators are not named in them, and replacing the room takes more than changing its state.
    """
    users: dict[str, int] = {}
    if not version.creators_have_infinite_power:
        trusted = invitees if preset.trusts_invitees else ()
        users = {creator: 100, **dict.fromkeys(trusted, 100)}
    content: dict[str, Any] = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.tombstone": 100,
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": preset.invite_level,
        **(override or {}),
    }
    return with_tombstone_level(version, content, is_given="events" in (override or {}))


def with_tombstone_level(version: RoomVersion, content: dict[str, Any], *, is_given: bool = False) -> dict[str, Any]:
    """The same, with what replacing the room takes where that must be said and `is_given` content doesn't say it."""
    events = content.get("events")
    if not version.creators_have_infinite_power or not isinstance(events, dict):
        return content
    if is_given and "m.room.tombstone" in events:
        return content
    state_default = content.get("state_default", 50)
    level = max(TOMBSTONE_LEVEL, state_default + 1) if type(state_default) is int else TOMBSTONE_LEVEL
    return {**content, "events": {**events, "m.room.tombstone": level}}


def create_content(
    version: RoomVersion, creator: UserId, preset: Preset, invitees: Collection[UserId], given: Mapping[str, Any]
) -> dict[str, Any]:
    """The create event's content: what the client gave, and what is the server's to say. Raises BadJson."""
    content = {key: value for key, value in given.items() if key not in ("creator", "room_version")}
    content["room_version"] = version.id
    if version.creator_in_create_content:
        content["creator"] = creator
    if version.creators_have_infinite_power:
        named = content.pop("additional_creators", [])
        if not isinstance(named, list) or not all(isinstance(user_id, str) for user_id in named):
            raise BadJson("additional_creators must be a list of user ids")
        trusted = invitees if preset.trusts_invitees else ()
        additional = [user_id for user_id in dict.fromkeys([*named, *trusted]) if user_id != creator]
        if additional:
            content["additional_creators"] = additional
    return content
