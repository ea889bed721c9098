"""Log-in. Every failure looks alike and takes alike: no answer tells whether an account exists."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.core.email_address import parse_email_address
from homeserver.core.errors import Forbidden, InvalidParam, MatrixError
from homeserver.core.identifiers import UserId, domain_of, is_user_id
from homeserver.ports import AbuseCheck
from homeserver.storage import contacts
from homeserver.storage import users as users_table
from homeserver.storage.database import Database
from homeserver.web.connections import network_of
from homeserver.web.rate_limits import RateLimiter


class Login:
    """Opens sessions for those who can prove who they are."""

    abuse: AbuseCheck | None = None
    # Says whose password alone isn't enough: they sign in on our pages.
    needs_more: Callable[[UserId], Awaitable[bool]] | None = None

    def __init__(
        self, db: Database, users: Users, sessions: Sessions, tokens: LoginTokens, limiter: RateLimiter
    ) -> None:
        self._db = db
        self._tokens = tokens
        self._users = users
        self._sessions = sessions
        self._limiter = limiter

    async def by_password(
        self,
        identifier: Mapping[str, Any],
        password: str,
        *,
        address: str,
        device_id: str | None,
        display_name: str | None,
        refreshable: bool,
    ) -> dict[str, Any]:
        """user_id and session. Raises Forbidden; LimitExceeded after too many failures for this account."""
        user_id = await self.prove(identifier, password, address=address)
        if self.needs_more is not None and await self.needs_more(user_id):
            raise Forbidden("this account also needs its passkey: sign in with a browser")
        return await self.open(user_id, device_id=device_id, display_name=display_name, refreshable=refreshable)

    async def prove(self, identifier: Mapping[str, Any], password: str, *, address: str) -> UserId:
        """Whose password this is, if the account may be used. Raises as `by_password`, and Unavailable."""
        # Whoever has an IPv6 network has as many addresses as there are passwords.
        address = network_of(address)
        user_id = await self._named(identifier)
        self._limiter.check("login_address", address)
        self._limiter.check("login_account", user_id)
        failures = f"{user_id} {address}"
        self._limiter.check("login_failed", failures)
        is_known = await self._users.is_password(user_id, password)
        if not is_known and not await self._users.take_in(user_id, password):
            # A deactivated account has no password any more, so it is told apart only by its former owner's words.
            raise Forbidden("wrong user name or password")
        self._limiter.forget("login_failed", failures)
        if self.abuse is not None:
            await self.abuse.check("login", user_id, address=address)
        return user_id

    async def by_token(
        self, token: str, *, address: str, device_id: str | None, display_name: str | None, refreshable: bool
    ) -> dict[str, Any]:
        """A session for a token of `login/get_token`, which is used up. Raises Forbidden, LimitExceeded."""
        self._limiter.check("login_address", network_of(address))
        user_id, upstream = await self._tokens.take(token)
        return await self.open(
            user_id, device_id=device_id, display_name=display_name, refreshable=refreshable, upstream=upstream
        )

    async def open(
        self,
        user_id: UserId,
        *,
        device_id: str | None,
        display_name: str | None,
        refreshable: bool,
        upstream: int | None = None,
    ) -> dict[str, Any]:
        """A session for somebody who was proved to be this user, by whatever means. Raises MatrixError.

        `upstream` is the sign-in elsewhere with which it ends.
        """
        await self.check_usable(user_id)
        async with self._db.transaction() as tx:
            opened = await self._sessions.open(
                tx,
                user_id,
                device_id=device_id,
                display_name=display_name,
                refreshable=refreshable,
                upstream=upstream,
            )
        self._sessions.account_changed(user_id)
        return {"user_id": user_id, "home_server": self._users.server_name, **opened}

    async def check_usable(self, user_id: UserId) -> None:
        """Raises MatrixError for an account that was deactivated, or is locked."""
        user = await users_table.by_id(self._db, user_id)
        if user is None or user.is_deactivated:
            raise MatrixError("this account was deactivated", errcode="M_USER_DEACTIVATED", status=403)
        if user.is_locked:
            raise MatrixError(
                "this account is locked", errcode="M_USER_LOCKED", status=401, extra={"soft_logout": True}
            )

    async def _named(self, identifier: Mapping[str, Any]) -> UserId:
        kind, name = identifier.get("type"), identifier.get("user")
        if kind == "m.id.thirdparty" and identifier.get("medium") == "email":
            return await self._holder_of(identifier.get("address"))
        if kind != "m.id.user":
            raise Forbidden("only user names are known here: use an identifier of type m.id.user")
        if not isinstance(name, str) or len(name) > 255 or "\x00" in name:
            raise InvalidParam("identifier.user must be a user name")
        user_id = self._users.user_id_of(name.lower())
        if not is_user_id(user_id) or domain_of(user_id) != self._users.server_name:
            raise Forbidden("wrong user name or password")
        return user_id

    async def _holder_of(self, address: object) -> UserId:
        """Whose e-mail address it is. For nobody's, a user who doesn't exist: the answer is as slow and the same."""
        if not isinstance(address, str):
            raise InvalidParam("identifier.address must be an e-mail address")
        holder = await contacts.holder(self._db, "email", parse_email_address(address))
        return holder or UserId(f"@:{self._users.server_name}")
