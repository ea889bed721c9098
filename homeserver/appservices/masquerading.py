"""Who calls with an application service's token. spec: application-service-api/#identity-assertion"""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

from homeserver.appservices.registration import Registration
from homeserver.appservices.registry import Registry
from homeserver.core.errors import Forbidden, MatrixError, UnknownToken
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.clock import Clock
from homeserver.storage import devices, users
from homeserver.storage.database import Database
from homeserver.storage.users import UserRow
from homeserver.web.endpoint import Caller
from homeserver.web.server import HttpRequest

# How long what is known of a user is believed.
KNOWN_S = 5.0
KNOWN_MAX = 20_000


class Authenticator(Protocol):
    """Names the holders of all other tokens. Implemented by accounts.sessions."""

    async def authenticate(self, token: str, request: HttpRequest) -> Caller: ...


class Masquerading:
    """Names the callers: an application service as whom it says to be, everybody else by their sessions."""

    def __init__(self, registry: Registry, sessions: Authenticator, db: Database, clock: Clock) -> None:
        self._registry = registry
        self._sessions = sessions
        self._db = db
        self._clock = clock
        self._known: OrderedDict[UserId, tuple[float, UserRow]] = OrderedDict()
        self._devices: OrderedDict[tuple[UserId, DeviceId], float] = OrderedDict()

    async def authenticate(self, token: str, request: HttpRequest) -> Caller:
        """Raises UnknownToken; Forbidden for a user who isn't the service's, MatrixError for an unknown device."""
        service = self._registry.by_token(token)
        if service is None:
            return await self._sessions.authenticate(token, request)
        return await self._caller(service, request)

    async def _caller(self, service: Registration, request: HttpRequest) -> Caller:
        query = request.raw_query
        user_id = UserId(query.get("user_id") or service.sender)
        if not service.may_be(user_id, self._registry.server_name):
            raise Forbidden("this user is not in the application service's namespace")
        row = await self._user(user_id)
        if row is None or row.is_deactivated:
            raise Forbidden("the application service has not registered this user")
        if row.is_locked:
            raise UnknownToken("this account is locked", errcode="M_USER_LOCKED", extra={"soft_logout": True})
        wanted = query.get("device_id") or query.get("org.matrix.msc3202.device_id")
        device_id = DeviceId(wanted) if wanted else None
        if device_id is not None and not await self._has_device(user_id, device_id):
            raise MatrixError("this user has no such device", errcode="M_UNKNOWN_DEVICE")
        return Caller(
            user_id=user_id,
            device_id=device_id,
            is_guest=row.is_guest,
            # Whoever has a bridge's token is not so an administrator whom it may act as.
            is_admin=row.is_admin and user_id == service.sender,
            is_suspended=row.is_suspended,
            appservice_id=service.id,
        )

    async def _user(self, user_id: UserId) -> UserRow | None:
        now, known = self._clock.monotonic_s(), self._known.get(user_id)
        if known is not None and now - known[0] < KNOWN_S:
            return known[1]
        row = await users.by_id(self._db, user_id) if "\x00" not in user_id else None
        if row is not None:
            self._known[user_id] = (now, row)
            self._known.move_to_end(user_id)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return row

    async def _has_device(self, user_id: UserId, device_id: DeviceId) -> bool:
        key, now = (user_id, device_id), self._clock.monotonic_s()
        if now - self._devices.get(key, -KNOWN_S) < KNOWN_S:
            return True
        if "\x00" in device_id or await devices.one(self._db, user_id, device_id) is None:
            return False
        self._devices[key] = now
        self._devices.move_to_end(key)
        if len(self._devices) > KNOWN_MAX:
            self._devices.popitem(last=False)
        return True
