"""A Matrix Authentication Service (MAS) in place of our own sign-in: access tokens are its tokens, and it is asked
what each is good for (RFC 7662).

What it said is believed for two minutes at most. Before that ends whoever logs out: the service then has the device
deleted here, and what is remembered of it is forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode
from weakref import WeakValueDictionary

import msgspec
import orjson
import structlog

from homeserver.accounts.sessions import DEVICE_ID_CHARS_MAX, OPERATOR_PREFIX, Sessions
from homeserver.accounts.short_lived import ShortLived
from homeserver.config.sign_in import Mas
from homeserver.core.errors import Unavailable, UnknownToken
from homeserver.core.identifiers import DeviceId, ServerName, UserId
from homeserver.runtime.clock import Clock
from homeserver.storage import delegated_holders
from homeserver.storage.database import Database
from homeserver.web.endpoint import Caller
from homeserver.web.outgoing import Outgoing, OutgoingError
from homeserver.web.server import HttpRequest

log = structlog.get_logger()

BELIEVED_S = 120.0
REFUSALS_BELIEVED_S = 10.0
REFUSALS_MAX = 10_000
METADATA_S = 600.0
HOLDERS_MAX = 50_000
TOKEN_CHARS_MAX = 4_096
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 1_000_000
_API = frozenset({"urn:matrix:client:api:*", "urn:matrix:org.matrix.msc2967.client:api:*"})
_DEVICE = ("urn:matrix:client:device:", "urn:matrix:org.matrix.msc2967.client:device:")
ADMIN_SCOPE = "urn:synapse:admin:*"


class Introspection(msgspec.Struct, frozen=True):
    """What the service says of a token. `device_id` is of sessions that were begun in the legacy way."""

    active: bool
    scope: str | None = None
    username: str | None = None
    device_id: str | None = None
    expires_in: int | None = None

    @property
    def scopes(self) -> frozenset[str]:
        return frozenset((self.scope or "").split())


class AuthenticationService:
    """Asks the service: about tokens, and about itself."""

    def __init__(self, config: Mas, outgoing: Outgoing, clock: Clock) -> None:
        assert config.endpoint is not None and config.secret is not None
        self._base = config.endpoint.rstrip("/")
        self._secret = config.secret
        self._outgoing = outgoing
        self._clock = clock
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._loading = asyncio.Lock()

    async def introspect(self, token: str) -> Introspection:
        """Raises Unavailable."""
        headers = {
            "Authorization": f"Bearer {self._secret.reveal()}",
            "Content-Type": "application/x-www-form-urlencoded",
            # Has it name the device of legacy sessions apart from the scope, which can't hold every device id.
            "X-MAS-Supports-Device-Id": "1",
        }
        form = urlencode({"token": token, "token_type_hint": "access_token"}).encode()
        try:
            return msgspec.convert(await self._ask("POST", "/oauth2/introspect", headers, form), Introspection)
        except msgspec.ValidationError:
            log.error("introspection_unusable")
            raise Unavailable("Unable to introspect the access token") from None
        except OutgoingError as error:
            log.error("introspection_failed", reason=error.reason)
            raise Unavailable("Unable to introspect the access token") from None

    async def metadata(self) -> dict[str, Any]:
        """What it says of itself (RFC 8414); while it can't be asked, what it said last. Raises Unavailable."""
        async with self._loading:
            now, known = self._clock.monotonic_s(), self._metadata
            if known is not None and now - known[0] < METADATA_S:
                return known[1]
            try:
                found = await self._ask("GET", "/.well-known/openid-configuration", {})
                if not all(isinstance(found.get(key), str) for key in ("issuer", "account_management_uri")):
                    raise OutgoingError("unreachable", "the metadata are no authentication service's")
            except OutgoingError as error:
                log.error("authentication_service_metadata_failed", reason=error.reason)
                if known is None:
                    raise Unavailable("the authentication service gives no answer") from None
                return known[1]
            self._metadata = (now, found)
            return found

    async def reset_url(self) -> str:
        """The page on which people allow that their cross-signing keys are replaced. Raises Unavailable."""
        account = str((await self.metadata())["account_management_uri"])
        return f"{account}{'&' if '?' in account else '?'}action=org.matrix.cross_signing_reset"

    async def _ask(self, method: str, path: str, headers: dict[str, str], form: bytes | None = None) -> dict[str, Any]:
        answer = await self._outgoing.request(
            method,
            self._base + path,
            headers={"Accept": "application/json", **headers},
            body=form,
            timeout_s=TIMEOUT_S,
            response_bytes_max=ANSWER_BYTES_MAX,
        )
        try:
            said = orjson.loads(answer.body)
        except orjson.JSONDecodeError:
            said = None
        if answer.status != 200 or not isinstance(said, dict):
            raise OutgoingError("unreachable", f"the service answered {answer.status}")
        return said


@dataclass(frozen=True, slots=True)
class _Known:
    until_s: float
    caller: Caller


class DelegatedSessions:
    """Names the holders of the service's tokens. Operators' tokens for programs stay ours."""

    def __init__(
        self, service: AuthenticationService, sessions: Sessions, db: Database, clock: Clock, server_name: ServerName
    ) -> None:
        self.service = service
        self._sessions = sessions
        self._db = db
        self._clock = clock
        self._server_name = server_name
        self._holders: OrderedDict[bytes, _Known] = OrderedDict()
        # Apart, so that whoever tries tokens pushes no good one out.
        self._refused = ShortLived[bool](clock, lifetime_s=REFUSALS_BELIEVED_S, most=REFUSALS_MAX)
        self._asking: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._forgotten = 0
        sessions.forgetting.append(self._forget)

    async def authenticate(self, token: str, request: HttpRequest) -> Caller:
        """Who holds this token. Raises UnknownToken, Unavailable."""
        if token.startswith(OPERATOR_PREFIX):
            return await self._sessions.authenticate(token, request)
        if len(token) > TOKEN_CHARS_MAX:
            raise UnknownToken("Token is not active")
        digest = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        caller = self._remembered(digest)
        if caller is None:
            lock = self._asking.setdefault(digest, asyncio.Lock())
            async with lock:
                caller = self._remembered(digest) or await self._look_up(digest, token)
        if caller.device_id is not None:
            self._sessions.see(caller.user_id, caller.device_id, request)
        return caller

    def _remembered(self, digest: bytes) -> Caller | None:
        if self._refused.get(digest):
            raise UnknownToken("Token is not active")
        known = self._holders.get(digest)
        if known is None:
            return None
        if self._clock.monotonic_s() >= known.until_s:
            del self._holders[digest]
            return None
        return known.caller

    async def _look_up(self, digest: bytes, token: str) -> Caller:
        asked_s = self._clock.monotonic_s()
        said = await self.service.introspect(token)
        if not said.active or (said.expires_in is not None and said.expires_in <= 0):
            self._refused.put(digest, True)
            raise UnknownToken("Token is not active")
        if not said.scopes & _API:
            raise UnknownToken("Token doesn't grant access to the Matrix C-S API")
        before = self._forgotten
        caller = await self._caller(said)
        good_s = BELIEVED_S if said.expires_in is None else min(BELIEVED_S, said.expires_in)
        # Not where an account or a device changed while we looked: it may be this one.
        if before == self._forgotten:
            self._holders[digest] = _Known(asked_s + good_s, caller)
            if len(self._holders) > HOLDERS_MAX:
                self._holders.popitem(last=False)
        return caller

    async def _caller(self, said: Introspection) -> Caller:
        device_id = _device_of(said)
        user_id = UserId(f"@{said.username}:{self._server_name}")
        if not said.username or "\x00" in user_id:
            raise _broken("it names nobody")
        found = await delegated_holders.holder(self._db, user_id, device_id)
        if found is None:
            raise _broken("it names a user whom it has not provisioned")
        if found.is_deactivated or (device_id is not None and not found.has_device):
            raise UnknownToken("Token is not active")
        return Caller(
            user_id=user_id,
            device_id=device_id,
            is_guest=found.is_guest,
            # The service says who administers, token by token: an account's own flag opens nothing.
            is_admin=ADMIN_SCOPE in said.scopes,
            is_suspended=found.is_suspended,
            is_locked=found.is_locked,
            operator_role=found.operator_role,
            bounds=found.bounds,
        )

    def _forget(self, user_id: UserId, device_ids: Collection[DeviceId] | None) -> None:
        self._forgotten += 1
        for digest in [
            digest
            for digest, known in self._holders.items()
            if known.caller.user_id == user_id and (device_ids is None or known.caller.device_id in device_ids)
        ]:
            del self._holders[digest]


def _device_of(said: Introspection) -> DeviceId | None:
    """Raises Unavailable for an answer that names several, or one that can't be."""
    named = (
        {scope[len(prefix) :] for scope in said.scopes for prefix in _DEVICE if scope.startswith(prefix)}
        if said.device_id is None
        else {said.device_id}
    )
    if len(named) > 1:
        raise _broken("it names several devices")
    device_id = next(iter(named), None)
    if device_id is None:
        return None
    if not 0 < len(device_id) <= DEVICE_ID_CHARS_MAX or "\x00" in device_id:
        raise _broken("it names a device that can't be")
    return DeviceId(device_id)


def _broken(why: str) -> Unavailable:
    """For an answer that no service of ours would give: its fault, and nobody is logged out for it."""
    log.error("introspection_unusable", why=why)
    return Unavailable("Unable to introspect the access token")
