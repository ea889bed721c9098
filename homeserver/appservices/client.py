"""Requests to application services: with their token, at their address, and never with a word of theirs in our logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from homeserver.appservices.registration import Registration
from homeserver.web.outgoing import Outgoing, OutgoingError

ANSWER_BYTES_MAX = 4 * 1024 * 1024
TRANSACTION_S = 60.0
QUERY_S = 30.0
PING_S = 20.0
# What tells that a route isn't there, so that the older one is tried. spec: application-service-api/#legacy-routes
_UNKNOWN_ROUTE = (404, 405, 501)


@dataclass(frozen=True, slots=True)
class AppserviceAnswer:
    """`status` 0: none came, for `reason`."""

    status: int
    content: Any = None
    reason: str = ""

    @property
    def is_good(self) -> bool:
        return 200 <= self.status < 300


class AppserviceClient:
    """Calls application services. Where one doesn't know a path of today, the path of earlier times is tried."""

    def __init__(self, outgoing: Outgoing) -> None:
        self._outgoing = outgoing
        self._is_legacy: dict[str, bool] = {}  # those whose newest transaction was taken at the old path

    async def send_transaction(self, service: Registration, number: int, body: bytes) -> AppserviceAnswer:
        new, old = f"/_matrix/app/v1/transactions/{number}", f"/transactions/{number}"
        is_legacy = self._is_legacy.get(service.id, False)
        # Every so often the new path is tried again: the service may have been updated.
        paths = (old, new) if is_legacy and number % 100 else (new, old)
        answer = await self._call(service, "PUT", paths[0], body, TRANSACTION_S)
        if answer.status in _UNKNOWN_ROUTE:
            answer = await self._call(service, "PUT", paths[1], body, TRANSACTION_S)
            is_legacy = paths[1] == old
        elif answer.is_good:
            is_legacy = paths[0] == old
        if answer.is_good:
            self._is_legacy[service.id] = is_legacy
        return answer

    async def ask(
        self, service: Registration, path: str, legacy_path: str | None, query: Mapping[str, str] | None = None
    ) -> AppserviceAnswer:
        """A GET. `path` comes percent-encoded."""
        asked = "?" + urlencode(query, quote_via=quote) if query else ""
        answer = await self._call(service, "GET", path + asked, None, QUERY_S)
        if answer.status in _UNKNOWN_ROUTE and legacy_path is not None:
            older = await self._call(service, "GET", legacy_path + asked, None, QUERY_S)
            return older if older.is_good else answer
        return answer

    async def ping(self, service: Registration, transaction_id: str | None) -> AppserviceAnswer:
        body = {"transaction_id": transaction_id} if transaction_id is not None else {}
        return await self._call(service, "POST", "/_matrix/app/v1/ping", orjson.dumps(body), PING_S)

    async def _call(
        self, service: Registration, method: str, path: str, body: bytes | None, timeout_s: float
    ) -> AppserviceAnswer:
        if service.url is None:
            return AppserviceAnswer(0, reason="no url")
        headers = {"Authorization": f"Bearer {service.hs_token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            answer = await self._outgoing.request(
                method,
                service.url + path,
                headers=headers,
                body=body,
                timeout_s=timeout_s,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
        except OutgoingError as error:
            return AppserviceAnswer(0, reason=error.reason)
        try:
            return AppserviceAnswer(answer.status, orjson.loads(answer.body) if answer.body else None)
        except orjson.JSONDecodeError:
            return AppserviceAnswer(answer.status)
