"""Which events authorise an event, and what is wrong with those it cites.

spec: server-server-api/#auth-events-selection
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from homeserver.core.auth_rules.power import CREATE, POWER_LEVELS
from homeserver.core.auth_rules.rules import Rule, refuse
from homeserver.core.errors import MissingEvents
from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion

JOIN_RULES: StateKey = ("m.room.join_rules", "")
AUTHORISER = "join_authorised_via_users_server"


def auth_keys(
    version: RoomVersion, *, type: str, sender: str, state_key: str | None, content: Mapping[str, Any]
) -> list[StateKey]:
    """The keys of the state that authorises such an event: what `auth_events` must name, where it exists.

    Each key once; none for a create event; never the create event in room version 12. Bad content selects less.
    """
    if type == CREATE[0]:
        return []
    keys = [] if version.room_id_from_create_event else [CREATE]
    keys += [POWER_LEVELS, ("m.room.member", sender)]
    if type == "m.room.member" and state_key is not None:
        keys += _member_keys(version, sender, state_key, content)
    return keys


def _member_keys(version: RoomVersion, sender: str, target: str, content: Mapping[str, Any]) -> list[StateKey]:
    keys: list[StateKey] = []
    if target != sender:
        keys.append(("m.room.member", target))
    membership = content.get("membership")
    if membership in ("join", "invite", "knock"):
        keys.append(JOIN_RULES)
    if membership == "invite" and (token := third_party_token(content)) is not None:
        keys.append(("m.room.third_party_invite", token))
    if membership == "join" and version.restricted_joins:
        authoriser = content.get(AUTHORISER)
        if isinstance(authoriser, str) and authoriser not in (sender, target):
            keys.append(("m.room.member", authoriser))
    return keys


def third_party_token(content: Mapping[str, Any]) -> str | None:
    """`content.third_party_invite.signed.token`, where it is a string."""
    invite = content.get("third_party_invite")
    signed = invite.get("signed") if isinstance(invite, dict) else None
    token = signed.get("token") if isinstance(signed, dict) else None
    return token if isinstance(token, str) else None


def auth_keys_of(event: Event) -> list[StateKey]:
    """`auth_keys` of an event that exists."""
    return auth_keys(
        event.version, type=event.type, sender=event.sender, state_key=event.state_key, content=event.content
    )


def keys_for_check(event: Event) -> list[StateKey]:
    """The keys that `check_auth` looks at: those of `auth_keys`, and in every version the create event."""
    keys = auth_keys_of(event)
    return keys if not keys or CREATE in keys else [CREATE, *keys]


def check_auth_events(event: Event, auth_events: Sequence[Event], *, rejected: Collection[EventId]) -> None:
    """The rules about what an event cites (rule 2; in version 12 rule 3). Raises RuleBroken.

    `auth_events` are the events that `event.auth_event_ids` names, whatever room and kind they are; raises
    MissingEvents if some aren't given. `rejected` has the ids of those that we rejected.
    spec: rooms/v12/#authorisation-rules
    """
    if event.type == CREATE[0]:
        return
    version = event.version
    given = {auth_event.event_id: auth_event for auth_event in auth_events}
    missing = [event_id for event_id in event.auth_event_ids if event_id not in given]
    if missing:
        raise MissingEvents(missing)
    cited = [given[event_id] for event_id in event.auth_event_ids]
    keys = [(auth_event.type, auth_event.state_key) for auth_event in cited]
    if len(set(keys)) != len(keys):
        refuse(version, Rule.AUTH_EVENTS_DUPLICATE, "two auth events have the same type and state key")
    allowed = set(auth_keys_of(event))
    for key in keys:
        if key not in allowed:
            refuse(version, Rule.AUTH_EVENTS_SELECTION, f"{key} does not authorise such an event")
    for auth_event in cited:
        if auth_event.event_id in rejected:
            refuse(version, Rule.AUTH_EVENTS_REJECTED, f"auth event {auth_event.event_id} was rejected")
    if not version.room_id_from_create_event and CREATE not in keys:
        refuse(version, Rule.AUTH_EVENTS_CREATE, "no create event among the auth events")
    for auth_event in cited:
        if auth_event.room_id != event.room_id:
            refuse(version, Rule.AUTH_EVENTS_ROOM, f"auth event {auth_event.event_id} is of another room")
