"""Accounts of application services' users: made and opened by the service's token, without a password.

spec: application-service-api/#server-admin-style-permissions
"""

from __future__ import annotations

from typing import Any

from homeserver.accounts.registration import Wish
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import NewUser, Users
from homeserver.core.errors import Forbidden, InvalidUsername, MissingParam
from homeserver.core.identifiers import ID_BYTES_MAX, UserId, is_user_id
from homeserver.ports import Bridges
from homeserver.storage.database import Database, Tx

LOGIN_TYPE = "m.login.application_service"


class BridgedAccounts:
    """Registers and logs in users of bridges."""

    def __init__(self, db: Database, users: Users, sessions: Sessions, bridges: Bridges) -> None:
        self._db = db
        self._users = users
        self._sessions = sessions
        self._bridges = bridges

    async def register(self, token: str | None, wish: Wish) -> dict[str, Any]:
        """The account and, unless inhibited, a session. MatrixError (M_EXCLUSIVE) is raised for foreign names.

        Raises also MissingToken, UnknownToken, UserInUse, InvalidUsername.
        """
        if not wish.username:
            raise MissingParam("the field username is missing")
        user_id = self._named(wish.username)
        self._bridges.check_own(token, user_id)
        await self._users.check_free(user_id)
        answer: dict[str, Any] = {"user_id": user_id, "home_server": self._users.server_name}
        async with self._db.transaction() as tx:
            await self._users.insert(tx, NewUser(user_id=user_id))
            if not wish.inhibit_login:
                answer |= await self._open(tx, user_id, wish)
        return answer

    async def login(self, token: str | None, identifier: object, wish: Wish) -> dict[str, Any]:
        """A session of one of the service's users. Raises as `register`; Forbidden for who isn't there."""
        name = identifier.get("user") if isinstance(identifier, dict) else None
        if not isinstance(name, str) or not name:
            raise MissingParam("the field identifier.user is missing")
        user_id = self._named(name)
        self._bridges.check_own(token, user_id)
        if user_id not in await self._users.existing([user_id]):
            raise Forbidden("this user is not registered")
        async with self._db.transaction() as tx:
            opened = await self._open(tx, user_id, wish)
        self._sessions.account_changed(user_id)
        return {"user_id": user_id, "home_server": self._users.server_name, **opened}

    async def _open(self, tx: Tx, user_id: UserId, wish: Wish) -> dict[str, Any]:
        return await self._sessions.open(
            tx, user_id, device_id=wish.device_id, display_name=wish.display_name, refreshable=wish.refreshable
        )

    def _named(self, name: str) -> UserId:
        user_id = self._users.user_id_of(name)
        is_local = user_id.endswith(f":{self._users.server_name}")
        if "\x00" in user_id or len(user_id) > ID_BYTES_MAX or not is_local or not is_user_id(user_id):
            raise InvalidUsername("this is no user name of this server")
        return user_id
