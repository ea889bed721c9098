"""Webhooks of a room, made, listed and removed by its moderators; and where other programs deliver. Hansa's own."""

from __future__ import annotations

import msgspec

from homeserver.core.identifiers import RoomId
from homeserver.runtime.clock import Clock
from homeserver.storage.event_webhooks import EventWebhookRow
from homeserver.storage.webhooks import WebhookRow
from homeserver.web.endpoint import Access, Answer, Caller, Json, Request, endpoint
from homeserver.webhooks.hearing import BODY_BYTES_MAX, Hearing
from homeserver.webhooks.registry import Webhooks, Wish, path_of
from homeserver.webhooks.sources import Source

_ROOM = "/_hansa/client/v1/rooms/{room_id}/webhooks"


class NewWebhook(msgspec.Struct, frozen=True):
    source: Source
    name: str
    secret: str | None = None
    template: str | None = None
    in_the_clear: bool = False


class NewEventWebhook(msgspec.Struct, frozen=True):
    name: str
    url: str
    types: list[str] = []


class WebhookEndpoints:
    """`base_url` is where other programs reach this server."""

    def __init__(self, registry: Webhooks, hearing: Hearing, clock: Clock, base_url: str) -> None:
        self._registry = registry
        self._hearing = hearing
        self._clock = clock
        self._base_url = base_url

    @endpoint("GET", _ROOM, access=Access.USER, spec="")
    async def of_room(self, caller: Caller, room_id: RoomId) -> Json:
        told, tells = await self._registry.of_room(room_id, by=caller.user_id)
        return {"inbound": [_inbound(row) for row in told], "outbound": [_outbound(row) for row in tells]}

    @endpoint("POST", _ROOM + "/inbound", access=Access.USER, spec="", limit="webhook", while_suspended=False)
    async def make(self, caller: Caller, room_id: RoomId, body: NewWebhook) -> Json:
        wish = Wish(
            source=body.source,
            name=body.name,
            signing_secret=body.secret,
            template=body.template,
            in_the_clear=body.in_the_clear,
        )
        row, token = await self._registry.make(room_id, wish, by=caller.user_id)
        return {**_inbound(row), "url": self._base_url + path_of(row.webhook_id, token)}

    @endpoint("POST", _ROOM + "/outbound", access=Access.USER, spec="", limit="webhook", while_suspended=False)
    async def make_outbound(self, caller: Caller, room_id: RoomId, body: NewEventWebhook) -> Json:
        row = await self._registry.make_outbound(room_id, body.name, body.url, body.types, by=caller.user_id)
        return {**_outbound(row), "secret": row.signing_secret}

    @endpoint(
        "POST", _ROOM + "/{webhook_id}/resume", access=Access.USER, spec="", limit="webhook", while_suspended=False
    )
    async def resume(self, caller: Caller, room_id: RoomId, webhook_id: str) -> Json:
        return _outbound(await self._registry.resume(room_id, webhook_id, by=caller.user_id))

    @endpoint("DELETE", _ROOM + "/{webhook_id}", access=Access.USER, spec="", while_suspended=False)
    async def remove(self, caller: Caller, room_id: RoomId, webhook_id: str) -> Json:
        await self._registry.remove(room_id, webhook_id, by=caller.user_id)
        return {}

    @endpoint(
        "POST",
        "/_hansa/webhooks/{webhook_id}/{token}",
        access=Access.NONE,
        spec="",
        raw_body=True,
        body_bytes_max=BODY_BYTES_MAX,
    )
    async def deliver(self, request: Request, webhook_id: str, token: str) -> Json | Answer:
        body = b"".join([piece async for piece in request.stream()])
        taken = await self._hearing.take(webhook_id, token, request.headers, body, self._clock)
        if taken.source is Source.SLACK:
            # As Slack answers: those who send to it take anything else for an error, and send the same again.
            return Answer(b"ok", content_type="text/html")
        return {"event_id": taken.event_id} if taken.event_id is not None else {}


def _inbound(row: WebhookRow) -> Json:
    return {
        "webhook_id": row.webhook_id,
        "source": row.source,
        "name": row.name,
        "owner": row.owner,
        "created_ts": row.created_ts,
        "used_ts": row.used_ts,
        "is_signed": row.signing_secret is not None,
        "template": row.template,
    }


def _outbound(row: EventWebhookRow) -> Json:
    return {
        "webhook_id": row.webhook_id,
        "name": row.name,
        "url": row.url,
        "owner": row.owner,
        "types": list(row.types),
        "created_ts": row.created_ts,
        "deliveries": row.delivery,
        "failures": row.failures,
        "is_enabled": row.is_enabled,
    }
