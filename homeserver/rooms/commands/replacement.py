"""What a room hands down to the one that replaces it. Pure. spec: client-server-api/#room-upgrades"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.core.auth_rules import SCALAR_LEVELS, PowerLevels, creators, parse_level
from homeserver.core.events import Event
from homeserver.core.identifiers import UserId
from homeserver.core.room_versions import RoomVersion
from homeserver.rooms.commands.presets import with_tombstone_level

COPIED = tuple(
    "m.room." + name
    for name in "join_rules history_visibility guest_access encryption name topic avatar server_acl policy".split()
)
# Those that a room has any number of, each with a state_key of its own; the second as it was called before v1.19.
COPIED_ALL = frozenset({"m.room.image_pack", "im.ponies.room_emotes"})
_JOIN_RULES_KNOWN = {
    "knock": "knocking",
    "restricted": "restricted_joins",
    "knock_restricted": "knock_restricted",
}


def create_content(
    version: RoomVersion, old: Event, predecessor: Mapping[str, Any], upgrader: UserId, additional: Sequence[UserId]
) -> dict[str, Any]:
    """The new create event's content: the old one's type and whether it federates; creators as asked for."""
    content: dict[str, Any] = {"room_version": version.id, "predecessor": dict(predecessor)}
    for key in ("type", "m.federate"):
        if key in old.content:
            content[key] = old.content[key]
    if version.creator_in_create_content:
        content["creator"] = upgrader
    if version.creators_have_infinite_power:
        others = [user_id for user_id in dict.fromkeys(additional) if user_id != upgrader]
        if others:
            content["additional_creators"] = others
    return content


def power_levels(
    version: RoomVersion, create: Event, old: Event | None, upgrader: UserId, additional: Sequence[UserId]
) -> dict[str, Any]:
    """The old levels in the form of the new version, without its creators where those are not to be named.

    Where the new version knows no creators' power, whoever had it gets the highest level there is; where it does, the
    upgrader chooses the creators anew, as on other servers.
    """
    levels = _normalised(create.version, old.content if old is not None else {})
    users = dict(levels["users"])
    if old is None:
        users.update(PowerLevels(create, None).users())
    highest = max([100, *levels["events"].values(), *(levels[name] for name in SCALAR_LEVELS)])
    if not version.creators_have_infinite_power:
        for creator in creators(create):
            users[creator] = highest
    if version.creators_have_infinite_power:
        for creator in (upgrader, *additional):
            users.pop(creator, None)
    content = {**levels, "users": users}
    tombstone = content["events"].get("m.room.tombstone", content["state_default"])
    return with_tombstone_level(version, content) if tombstone <= 100 else content


def raised_for(version: RoomVersion, content: Mapping[str, Any], upgrader: UserId) -> dict[str, Any]:
    """The levels while the room is being filled: the upgrader can set all that is copied."""
    if version.creators_have_infinite_power:
        return dict(content)
    needed = max([content["state_default"], content["ban"], *content["events"].values(), *content["users"].values()])
    if content["users"].get(upgrader, content["users_default"]) >= needed:
        return dict(content)
    return {**content, "users": {**content["users"], upgrader: needed}}


def is_possible(version: RoomVersion, kind: str, content: Mapping[str, Any]) -> bool:
    """Whether a state event means the same in the new version; a join rule that it lacks would lock the room."""
    field = _JOIN_RULES_KNOWN.get(str(content.get("join_rule"))) if kind == "m.room.join_rules" else None
    return field is None or bool(getattr(version, field))


def restricted(create: Event, old: Event | None) -> dict[str, Any] | None:
    """The old room's levels with sending and inviting for moderators alone; None where they are so already."""
    content = dict(old.content) if old is not None else {"users": dict(PowerLevels(create, None).users())}
    users_default = PowerLevels(create, old).scalar("users_default")
    least = max(50, users_default + 1)
    changes = {
        name: least
        for name in ("events_default", "invite")
        if (parse_level(create.version, content.get(name, SCALAR_LEVELS[name])) or 0) < least
    }
    return {**content, **changes} if changes else None


def _normalised(version: RoomVersion, content: Mapping[str, Any]) -> dict[str, Any]:
    """All levels as integers, defaults written out; what is no level is left out."""
    scalars = {name: _level(version, content.get(name), default) for name, default in SCALAR_LEVELS.items()}
    maps = {name: _levels(version, content.get(name)) for name in ("users", "events", "notifications")}
    if not maps["notifications"]:
        del maps["notifications"]
    return {**scalars, **maps}


def _level(version: RoomVersion, value: object, default: int) -> int:
    parsed = parse_level(version, value) if value is not None else None
    return default if parsed is None else parsed


def _levels(version: RoomVersion, value: object) -> dict[str, int]:
    entries = value.items() if isinstance(value, dict) else ()
    return {name: level for name, entry in entries if (level := parse_level(version, entry)) is not None}
