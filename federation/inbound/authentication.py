"""Which server sent a request. spec: server-server-api/#request-authentication"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from federation.keys.ring import Keys, Signed, Verdict
from federation.reachability import Reachability
from federation.request_signing import Authorization, BadAuthorization, parse_authorization, signed_request
from federation.server_access import ServerAccess
from homeserver.core import canonical_json
from homeserver.core.errors import BadJson, Forbidden, MatrixError
from homeserver.core.identifiers import ServerName
from homeserver.runtime.clock import Clock

_HEADERS_MAX = 4


class RequestAuthentication:
    """Implements `homeserver.web.server.ServerAuthenticator`."""

    def __init__(
        self, keys: Keys, access: ServerAccess, reachability: Reachability, clock: Clock, server_name: ServerName
    ) -> None:
        self._keys = keys
        self._access = access
        self._reachability = reachability
        self._clock = clock
        self._server_name = server_name

    async def authenticate(
        self, method: str, target: str, authorization: Sequence[str], content: Callable[[], Awaitable[Any]]
    ) -> ServerName:
        """The origin, once every signature that was sent is shown to be right. See the protocol."""
        claims = self._claims(authorization)
        origin = claims[0].origin
        if not self._access.may_talk_with(origin):
            raise Forbidden("this server doesn't talk with yours")
        value = await content()
        if value is not None and not isinstance(value, dict):
            raise BadJson("the body must be a JSON object")
        try:
            encoded = canonical_json.encode(value) if value is not None else None
        except BadJson:
            raise _refused("the body can't be canonical JSON") from None
        if not await self._are_valid(claims, method, target, encoded):
            # Floats, which events of old rooms may hold, are written otherwise by most servers.
            lenient = canonical_json.encode_lenient(value) if value is not None else None
            if lenient == encoded or not await self._are_valid(claims, method, target, lenient):
                raise _refused("the signature of the request isn't right, or its key can't be had")
        self._reachability.reached(origin)
        return origin

    def _claims(self, authorization: Sequence[str]) -> list[Authorization]:
        if not authorization:
            raise _refused("requests of servers are signed: there is no Authorization header")
        if len(authorization) > _HEADERS_MAX:
            raise _refused("there are too many Authorization headers")
        try:
            claims = [parse_authorization(header) for header in authorization]
        except BadAuthorization as error:
            raise _refused(str(error)) from None
        if any(claim.origin != claims[0].origin for claim in claims):
            raise _refused("the Authorization headers name different servers")
        if any(claim.destination not in (None, self._server_name) for claim in claims):
            raise _refused("the request was meant for another server")
        return claims

    async def _are_valid(
        self, claims: Sequence[Authorization], method: str, target: str, content: bytes | None
    ) -> bool:
        now_ms = self._clock.now_ms()
        signed = [
            Signed(
                claim.origin,
                _covered(method, target, claim, content),
                {claim.key_id: claim.signature},
                now_ms,
                is_request=True,
            )
            for claim in claims
        ]
        return all(verdict is Verdict.VALID for verdict in await self._keys.verify(signed))


def _covered(method: str, target: str, claim: Authorization, content: bytes | None) -> bytes:
    return signed_request(method, target, claim.origin, claim.destination, content)


def _refused(why: str) -> MatrixError:
    return MatrixError(why, errcode="M_UNAUTHORIZED", status=401)
