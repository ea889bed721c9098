"""What application services ask of us beyond the client API.

spec: application-service-api/#client-server-api-extensions
"""

from __future__ import annotations

from typing import Literal

import msgspec

from homeserver.appservices.client import AppserviceClient
from homeserver.appservices.queues import Queues
from homeserver.appservices.registration import Registration
from homeserver.appservices.registry import Registry
from homeserver.appservices.room_lists import RoomLists
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.core.identifiers import OPAQUE_BYTES_MAX, RoomId
from homeserver.runtime.clock import Clock
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_LIST = "/directory/list/appservice/{network_id}/{room_id}"


class PingBody(msgspec.Struct, frozen=True):
    transaction_id: str | None = None


class NetworkVisibilityBody(msgspec.Struct, frozen=True):
    visibility: Literal["public", "private"]


class AppserviceEndpoints:
    """POST /appservice/{appserviceId}/ping, PUT /directory/list/appservice."""

    def __init__(
        self, registry: Registry, client: AppserviceClient, queues: Queues, lists: RoomLists, clock: Clock
    ) -> None:
        self._registry = registry
        self._client = client
        self._queues = queues
        self._lists = lists
        self._clock = clock

    @endpoint(
        "POST",
        "/_matrix/client/v1/appservice/{appservice_id}/ping",
        "/_matrix/client/unstable/fi.mau.msc2659/appservice/{appservice_id}/ping",
        access=Access.USER,
        spec="application-service-api/#post_matrixclientv1appserviceappserviceidping",
    )
    async def ping(self, caller: Caller, appservice_id: str, body: PingBody) -> Json:
        service = self._service(caller)
        if service.id != appservice_id:
            raise Forbidden("this is another application service's id")
        if body.transaction_id is not None and len(body.transaction_id.encode()) > OPAQUE_BYTES_MAX:
            raise InvalidParam(f"a transaction id may have {OPAQUE_BYTES_MAX} bytes")
        if service.url is None:
            raise MatrixError("the registration has no url", errcode="M_URL_NOT_SET")
        started = self._clock.monotonic_s()
        answer = await self._client.ping(service, body.transaction_id)
        if answer.reason == "timeout":
            raise MatrixError("the application service gave no answer", errcode="M_CONNECTION_TIMEOUT", status=504)
        if answer.status == 0:
            raise MatrixError("no connection to the application service", errcode="M_CONNECTION_FAILED", status=502)
        if not answer.is_good:
            told = {"status": answer.status}
            raise MatrixError("the application service refused", errcode="M_BAD_STATUS", status=502, extra=told)
        self._queues.shows_life(service.id)
        return {"duration_ms": int((self._clock.monotonic_s() - started) * 1000)}

    @endpoint(
        "PUT",
        "/_matrix/client/v3" + _LIST,
        "/_matrix/client/r0" + _LIST,
        access=Access.USER,
        spec="application-service-api/#put_matrixclientv3directorylistappservicenetworkidroomid",
    )
    async def set_visibility(
        self, caller: Caller, network_id: str, room_id: RoomId, body: NetworkVisibilityBody
    ) -> Json:
        service = self._service(caller)
        await self._lists.set(service.id, network_id, room_id, is_listed=body.visibility == "public")
        return {}

    def _service(self, caller: Caller) -> Registration:
        service = self._registry.get(caller.appservice_id) if caller.appservice_id is not None else None
        if service is None:
            raise Forbidden("only application services may do this")
        return service
