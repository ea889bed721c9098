"""Pages on which people look after their account. spec: client-server-api/#oauth-20-account-management"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.devices import Devices
from homeserver.accounts.oauth.browser import BrowserSessions, CrossSigningResets
from homeserver.accounts.passkeys import Passkeys
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.client_api.visits import LOGIN_PATH, Visit, Visits
from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.rate_limits import RateLimiter

_PATH = "/_hansa/account"
_ACTIONS = {
    "passkeys": "passkeys",
    "org.matrix.account_deactivate": "deactivate",
    "org.matrix.cross_signing_reset": "reset",
    "org.matrix.device_view": "devices",
    "org.matrix.device_delete": "devices",
    "org.matrix.devices_list": "devices",
    # Names from before the actions were stable.
    "org.matrix.sessions_list": "devices",
    "org.matrix.session_view": "devices",
    "org.matrix.session_end": "devices",
}


# Where somebody comes back to who had to sign in once more.
_SHOWN = {"reset": "org.matrix.cross_signing_reset", "deactivate": "org.matrix.account_deactivate"}


class NotFresh(Forbidden):
    """It was too long ago that somebody signed in here."""


class AccountWork:
    """What the page does. Whatever can't be undone wants the password again."""

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        browser: BrowserSessions,
        deactivation: Deactivation,
        resets: CrossSigningResets,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._browser = browser
        self._deactivation = deactivation
        self._resets = resets

    async def end_device(self, user_id: UserId, device_id: str) -> None:
        await self._sessions.end_devices(user_id, [DeviceId(device_id[:255])])

    async def change_password(self, user_id: UserId, password: str, new: str, cookie: str) -> None:
        """Ends every session but the browser's. Raises Forbidden, WeakPassword."""
        await self._check(user_id, password)
        await self._users.set_password(user_id, new)
        await self._sessions.end_all(user_id)
        await self._browser.close_others(user_id, cookie)

    async def deactivate(self, user_id: UserId, password: str, cookie: str, *, erase: bool) -> None:
        await self.check(user_id, password, cookie)
        await self._deactivation.deactivate(user_id, erase=erase)

    async def allow_reset(self, user_id: UserId, password: str, cookie: str) -> None:
        await self.check(user_id, password, cookie)
        self._resets.allow(user_id)

    async def has_password(self, user_id: UserId) -> bool:
        return await self._users.has_password(user_id)

    async def check(self, user_id: UserId, password: str, cookie: str) -> None:
        """The password; of an account without one, that its owner has just signed in. Raises Forbidden, NotFresh."""
        if await self._users.has_password(user_id):
            await self._check(user_id, password)
        elif not await self._browser.is_fresh(cookie):
            raise NotFresh("sign in once more")

    async def _check(self, user_id: UserId, password: str) -> None:
        if not await self._users.is_password(user_id, password):
            raise Forbidden("the password is wrong")


class AccountPages:
    """/_hansa/account."""

    def __init__(
        self, visits: Visits, devices: Devices, work: AccountWork, passkeys: Passkeys, limiter: RateLimiter
    ) -> None:
        self._visits = visits
        self._passkeys = passkeys
        self._devices = devices
        self._work = work
        self._limiter = limiter

    @endpoint("GET", _PATH, access=Access.NONE, limit="page", spec="")
    async def account(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        if request.raw_query.get("action") == "org.matrix.profile":
            return self._visits.go(f"{_PATH}/profile")  # which has those sign in who have not
        if visit.user_id is None:
            carried = {key: request.raw_query[key] for key in ("action", "device_id") if key in request.raw_query}
            onward = f"{_PATH}?{urlencode(carried)}" if carried else _PATH
            return self._visits.go(f"{LOGIN_PATH}?next={quote(onward, safe='')}")
        wanted = _ACTIONS.get(request.raw_query.get("action", ""), "")
        return await self._page(visit, visit.user_id, wanted, request.raw_query.get("device_id", ""))

    @endpoint("POST", _PATH, access=Access.NONE, limit="page", raw_body=True, timeout_s=None, spec="")
    async def act(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        user_id, action = visit.user_id, fields.get("action", "")
        if user_id is None:
            return self._visits.go(LOGIN_PATH)
        try:
            if action == "end":
                await self._work.end_device(user_id, fields.get("device_id", ""))
                return self._visits.go(f"{_PATH}?action=org.matrix.devices_list")
            self._limiter.check("authentication_failed", user_id)
            if action.startswith("passkey_"):
                await self._work.check(user_id, fields.get("password", ""), visit.cookie)
                await self._change_passkeys(visit, user_id, action, fields)
                return self._visits.go(f"{_PATH}?action=passkeys")
            if action == "password":
                old, new = fields.get("password", ""), fields.get("new_password", "")
                await self._work.change_password(user_id, old, new, visit.cookie)
                return self._visits.page(visit, "message", {"message": "password_changed"})
            if action == "reset":
                await self._work.allow_reset(user_id, fields.get("password", ""), visit.cookie)
                return self._visits.page(visit, "message", {"message": "reset_allowed"})
            if action == "deactivate":
                password = fields.get("password", "")
                await self._work.deactivate(user_id, password, visit.cookie, erase="erase" in fields)
                return self._visits.page(visit, "message", {"message": "deactivated"})
        except NotFresh:
            onward = f"{_PATH}?{urlencode({'action': _SHOWN.get(action, 'passkeys')})}"
            return self._visits.go(f"{LOGIN_PATH}?{urlencode({'next': onward})}")
        except MatrixError as error:
            return await self._page(visit, user_id, action, "", error)
        return self._visits.go(_PATH)

    async def _change_passkeys(self, visit: Visit, user_id: UserId, action: str, fields: Mapping[str, str]) -> None:
        if action == "passkey_add":
            await self._passkeys.add(user_id, visit.cookie, fields.get("response", ""), fields.get("name", ""))
        elif action == "passkey_remove":
            await self._passkeys.remove(user_id, fields.get("credential_id", ""))
        elif action in ("passkey_require", "passkey_optional"):
            await self._passkeys.require(user_id, action == "passkey_require")

    async def _page(
        self, visit: Visit, user_id: UserId, wanted: str, device_id: str, error: MatrixError | None = None
    ) -> Answer:
        devices: list[dict[str, Any]] = await self._devices.all(user_id)
        values = {
            "devices": [device for device in devices if device["device_id"] == device_id] or devices,
            "wanted": wanted,
            "error": error.message if error else "",
            "action": _PATH,
            "has_password": await self._work.has_password(user_id),
            **await self._shown_passkeys(visit, user_id),
        }
        script = "passkeys.js" if self._passkeys.are_possible else None
        return self._visits.page(visit, "account", values, status=error.http_status if error else 200, script=script)

    async def _shown_passkeys(self, visit: Visit, user_id: UserId) -> dict[str, Any]:
        if not self._passkeys.are_possible:
            return {"passkeys_possible": False}
        found = await self._passkeys.of_user(user_id)
        return {
            "passkeys_possible": True,
            "passkeys": [{"credential_id": one.credential_id.hex(), "name": one.name} for one in found],
            "passkey_options": await self._passkeys.options_to_add(user_id, visit.cookie),
            "passkey_required": await self._passkeys.is_required(user_id),
        }
