"""The two halves of an event that two servers make together: a template given, and one filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.core.errors import InvalidEvent
from homeserver.core.events import AUTH_EVENTS_MAX, PREV_EVENTS_MAX, Event, check_form, sign_event
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.room_versions import EventIdFormat, RoomVersion
from homeserver.core.signing import Signer

_OURS = ("hashes", "signatures", "event_id", "unsigned", "origin")


def template_of(event: Event) -> dict[str, Any]:
    """An event as another server is to fill it in and sign it."""
    return {key: value for key, value in event.pdu.items() if key not in _OURS}


def filled(
    version: RoomVersion,
    template: Mapping[str, Any],
    *,
    room_id: RoomId,
    user_id: UserId,
    content: Mapping[str, Any],
    now_ms: int,
    signer: Signer,
    event_id: str,
) -> Event:
    """Our member event in the place that a template gives it, signed.

    Nothing but that place, and who authorised a restricted join, is taken from the template. Raises InvalidEvent.
    """
    told = template.get("content")
    authoriser = told.get("join_authorised_via_users_server") if isinstance(told, dict) else None
    pdu: dict[str, Any] = {
        "type": "m.room.member",
        "room_id": room_id,
        "sender": user_id,
        "state_key": user_id,
        "content": dict(content),
        "origin_server_ts": now_ms,
        "depth": template.get("depth"),
        "prev_events": template.get("prev_events"),
        "auth_events": template.get("auth_events"),
    }
    if isinstance(authoriser, str) and content.get("membership") == "join":
        pdu["content"]["join_authorised_via_users_server"] = authoriser
    if version.event_id_format is EventIdFormat.IN_EVENT:
        pdu["event_id"] = event_id
        pdu["origin"] = signer.server_name
    for key, most in (("prev_events", PREV_EVENTS_MAX), ("auth_events", AUTH_EVENTS_MAX)):
        if not isinstance(pdu[key], list) or len(pdu[key]) > most:
            raise InvalidEvent(f"the template's {key} isn't what it should be")
    check_form(version, {**pdu, "hashes": {"sha256": ""}, "signatures": {}})
    return sign_event(version, pdu, signer)
