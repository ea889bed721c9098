"""Listing notifications. spec: client-server-api/#listing-notifications"""

from __future__ import annotations

import msgspec

from homeserver.core.canonical_json import INT_MAX
from homeserver.core.errors import InvalidParam
from homeserver.push.notified import LIMIT_MAX, Notified
from homeserver.rooms.client_events import ClientEvents, Viewer
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_LIMIT_DEFAULT = 20


class NotificationsQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    from_: str | None = None
    limit: int = _LIMIT_DEFAULT
    only: str | None = None


class NotificationEndpoints:
    def __init__(self, notified: Notified, client_events: ClientEvents) -> None:
        self._notified = notified
        self._client_events = client_events

    @endpoint(
        "GET",
        "/_matrix/client/v3/notifications",
        "/_matrix/client/r0/notifications",
        access=Access.USER,
        spec="client-server-api/#get_matrixclientv3notifications",
    )
    async def notifications(self, caller: Caller, query: NotificationsQuery) -> Json:
        if query.limit < 1:
            raise InvalidParam(f"limit must be 1 to {LIMIT_MAX}, got {query.limit}")
        found, after = await self._notified.page(
            caller.user_id,
            _parse_token(query.from_),
            min(query.limit, LIMIT_MAX),
            only_highlights=query.only == "highlight",
        )
        shown = await self._client_events.render(
            [one.stored for one in found], Viewer(caller.user_id, caller.device_id), with_room_id=False
        )
        answer: Json = {
            "notifications": [
                {
                    "actions": one.actions,
                    "event": event,
                    "read": one.was_read,
                    "room_id": one.stored.event.room_id,
                    "ts": one.stored.event.origin_server_ts,
                }
                for one, event in zip(found, shown, strict=True)
            ]
        }
        if after is not None:
            answer["next_token"] = f"n{after}"
        return answer


def _parse_token(token: str | None) -> int:
    """The place that a `next_token` stands for. Raises InvalidParam for what never was one."""
    if token is None:
        return INT_MAX
    digits = token.removeprefix("n")
    if len(digits) == len(token) or not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
        raise InvalidParam("from must be a next_token that this endpoint gave")
    return int(digits)
