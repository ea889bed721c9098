"""What a push gateway is told, and what its answer means. spec: push-gateway-api/

Invariant: a gateway hears of an event what its pusher asked for and no more, and can remove only the key it was asked
about.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any
from urllib.parse import urlsplit

import orjson

from homeserver.core.events import Event
from homeserver.core.identifiers import UserId
from homeserver.rooms.residents import Room
from homeserver.storage.pushers import PusherRow
from homeserver.web.outgoing import Outgoing, OutgoingError

REQUEST_S = 15.0
ANSWER_BYTES_MAX = 65_536
# Longer contents are left out: gateways have little room for them.
CONTENT_BYTES_MAX = 4_096
NAME_CHARS_MAX = 1_000
_NO_COUNTS = ("disable_badge_count", "org.matrix.msc4076.disable_badge_count")


class Outcome(Enum):
    """How a delivery ended."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"  # the gateway says that the key is no good
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Told:
    """An outcome, and for a failure its reason: ours, not the gateway's words."""

    outcome: Outcome
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where a pusher sends to, and what is sent along."""

    url: str
    host: str
    event_id_only: bool
    device: dict[str, Any]
    # Whether it is told how much is unread: not where the app counts by itself (MSC4076).
    with_counts: bool = True

    @classmethod
    def of(cls, row: PusherRow) -> Gateway:
        described = orjson.loads(row.description)
        data = {key: value for key, value in described["data"].items() if key != "url"}
        url = described["data"]["url"]
        device = {"app_id": row.app_id, "pushkey": row.pushkey, "pushkey_ts": row.changed_ts // 1000, "data": data}
        with_counts = not any(data.get(key) is True for key in _NO_COUNTS)
        return cls(url, urlsplit(url).netloc, data.get("format") == "event_id_only", device, with_counts)


@dataclass(frozen=True, slots=True)
class Names:
    """What people call a sender and a room."""

    sender: str | None
    room: str | None
    alias: str | None

    @classmethod
    def known(cls, room: Room, sender: UserId) -> Names:
        """`room` must know the sender's membership."""
        member = room.known_state("m.room.member", sender)
        name = member.content.get("displayname") if member is not None else None
        return cls(
            name if isinstance(name, str) else None,
            room.known_text("m.room.name", "name"),
            room.known_text("m.room.canonical_alias", "alias"),
        )

    @classmethod
    def told(cls, stripped: Sequence[Mapping[str, Any]], sender: UserId) -> Names:
        """From what came with an invite."""

        def text(kind: str, state_key: str, key: str) -> str | None:
            for event in stripped:
                content = event.get("content")
                if (event.get("type"), event.get("state_key")) == (kind, state_key) and isinstance(content, dict):
                    value = content.get(key)
                    return value[:NAME_CHARS_MAX] if isinstance(value, str) else None
            return None

        return cls(
            text("m.room.member", sender, "displayname"),
            text("m.room.name", "", "name"),
            text("m.room.canonical_alias", "", "alias"),
        )


def badge_notification(gateway: Gateway, unread: int) -> dict[str, Any]:
    """Says how much is unread, and nothing else; 0 too, which is what makes an app take its badge away."""
    return {"counts": {"unread": unread}, "devices": [gateway.device], "prio": "low"}


def event_notification(
    gateway: Gateway,
    event: Event,
    names: Names,
    user_id: UserId,
    tweaks: Mapping[str, Any],
    unread: int,
    *,
    with_content: bool,
) -> dict[str, Any]:
    """Says what happened: event and room ids alone where the pusher asked for that."""
    notification: dict[str, Any] = {
        "event_id": event.event_id,
        "room_id": event.room_id,
        "counts": {"unread": unread} if unread else {},
        "prio": _prio(event, tweaks),
        "devices": [{**gateway.device, "tweaks": dict(tweaks)}],
    }
    if gateway.event_id_only:
        notification["devices"] = [gateway.device]
        return notification
    notification["type"] = event.type
    notification["sender"] = event.sender
    named = {"sender_display_name": names.sender, "room_name": names.room, "room_alias": names.alias}
    notification.update((key, name) for key, name in named.items() if name)
    if event.type == "m.room.member" and event.state_key is not None:
        notification["user_is_target"] = event.state_key == user_id
    # What is encrypted tells a gateway nothing.
    if with_content and event.type != "m.room.encrypted" and len(orjson.dumps(event.content)) <= CONTENT_BYTES_MAX:
        notification["content"] = event.content
    return notification


async def tell(outgoing: Outgoing, gateway: Gateway, notification: Mapping[str, Any]) -> Told:
    """Sends it once."""
    try:
        answer = await outgoing.request(
            "POST",
            gateway.url,
            headers={"Content-Type": "application/json"},
            body=orjson.dumps({"notification": notification}),
            timeout_s=REQUEST_S,
            response_bytes_max=ANSWER_BYTES_MAX,
        )
    except OutgoingError as error:
        return Told(Outcome.FAILED, error.reason)
    if not 200 <= answer.status < 300:
        return Told(Outcome.FAILED, f"status {answer.status}")
    try:
        said = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return Told(Outcome.FAILED, "no JSON")
    rejected = said.get("rejected") if isinstance(said, dict) else None
    if isinstance(rejected, list) and gateway.device["pushkey"] in rejected:
        return Told(Outcome.REJECTED)
    return Told(Outcome.ACCEPTED)


def _prio(event: Event, tweaks: Mapping[str, Any]) -> str:
    """High for what makes itself heard; also for what is encrypted, where nobody here can tell."""
    is_loud = event.type == "m.room.encrypted" or tweaks.get("highlight") is True or "sound" in tweaks
    return "high" if is_loud else "low"
