"""The rules about changing power levels. spec: rooms/v12/#authorisation-rules (rule 10), the same in each version"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.auth_rules.context import AuthState
from homeserver.core.auth_rules.power import SCALAR_LEVELS, creators, parse_level
from homeserver.core.auth_rules.rules import Rule
from homeserver.core.identifiers import is_user_id


def check_power_levels(auth: AuthState) -> None:
    """Raises RuleBroken unless the sender may put these power levels in place of the current ones.

    Where a version's list doesn't say what to do with values that are no levels (below version 10 all but `users`),
    they are refused as a new value, unless they are the room's first.
    """
    content = auth.event.content
    _check_form(auth, content)
    current = auth.state.get((auth.event.type, auth.event.state_key or ""))
    if current is None:
        return
    _check_scalars(auth, current.content, content)
    for name in ("events", "notifications") if auth.event.version.notifications_power_checked else ("events",):
        _check_map(auth, name, current.content, content)
    _check_users(auth, current.content, content)


def _check_form(auth: AuthState, content: Mapping[str, Any]) -> None:
    version = auth.event.version
    if version.integer_power_levels_only:
        for name in SCALAR_LEVELS:
            if name in content and parse_level(version, content[name]) is None:
                auth.refuse(Rule.LEVELS_INTEGERS, f"{name} must be an integer")
        for name in ("events", "notifications"):
            if name in content and not _is_map_of_levels(auth, content[name]):
                auth.refuse(Rule.LEVELS_MAPS, f"{name} must be an object of integers")
    users = content.get("users", {})
    if not _is_map_of_levels(auth, users) or not all(is_user_id(user_id) for user_id in users):
        auth.refuse(Rule.LEVELS_USERS, "users must be an object of user ids and integers")
    if any(user_id in users for user_id in creators(auth.create)):
        auth.refuse(Rule.LEVELS_CREATORS, "users may not name a creator of the room")


def _is_map_of_levels(auth: AuthState, value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return all(parse_level(auth.event.version, level) is not None for level in value.values())


def _check_scalars(auth: AuthState, current: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    power = auth.levels.user(auth.event.sender)
    for name in SCALAR_LEVELS:
        old_level = _level(auth, current.get(name))
        new_level = _new_level(auth, Rule.LEVELS_NEW, name, current.get(name), new.get(name))
        if old_level == new_level:
            continue
        if old_level is not None and old_level > power:
            auth.refuse(Rule.LEVELS_CURRENT, f"{name} is {old_level}, beyond the sender's {power}")
        if new_level is not None and new_level > power:
            auth.refuse(Rule.LEVELS_NEW, f"{name} would be {new_level}, beyond the sender's {power}")


def _check_map(auth: AuthState, name: str, current: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    power = auth.levels.user(auth.event.sender)
    old_map, new_map = _map(current.get(name)), _map(new.get(name))
    if name in new and not isinstance(new[name], dict) and new[name] != current.get(name):
        auth.refuse(Rule.LEVELS_MAP_NEW, f"{name} must be an object")
    for key in old_map.keys() | new_map.keys():
        old_level = _level(auth, old_map.get(key))
        new_level = _new_level(auth, Rule.LEVELS_MAP_NEW, name, old_map.get(key), new_map.get(key))
        if old_level == new_level:
            continue
        if old_level is not None and old_level > power:
            auth.refuse(Rule.LEVELS_MAP_CURRENT, f"{name} has {old_level}, beyond the sender's {power}")
        if new_level is not None and new_level > power:
            auth.refuse(Rule.LEVELS_MAP_NEW, f"{name} would have {new_level}, beyond the sender's {power}")


def _check_users(auth: AuthState, current: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    sender = auth.event.sender
    power = auth.levels.user(sender)
    old_map, new_map = _map(current.get("users")), _map(new.get("users"))
    for user_id in old_map.keys() | new_map.keys():
        old_level = _level(auth, old_map.get(user_id))
        new_level = _level(auth, new_map.get(user_id))
        if old_level == new_level:
            continue
        if user_id != sender and old_level is not None and old_level >= power:
            auth.refuse(Rule.LEVELS_USER_CURRENT, f"{user_id} has {old_level}, no less than the sender's {power}")
        if new_level is not None and new_level > power:
            auth.refuse(Rule.LEVELS_USER_NEW, f"{user_id} would have {new_level}, beyond the sender's {power}")


def _map(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _level(auth: AuthState, value: object) -> int | None:
    return None if value is None else parse_level(auth.event.version, value)


def _new_level(auth: AuthState, rule: Rule, name: str, old: object, new: object) -> int | None:
    level = _level(auth, new)
    if level is None and new is not None and new != old:
        auth.refuse(rule, f"{name} must be an integer")
    return level
