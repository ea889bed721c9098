"""Locking and suspending accounts, and where a user was seen. spec: client-server-api/#server-administration

Lock: nothing but logging out. Suspend: reading, leaving and logging out, but nothing said.
"""

from __future__ import annotations

from typing import Any

from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.core.errors import Forbidden, InvalidParam, NotFound
from homeserver.core.identifiers import UserId, domain_of
from homeserver.storage import devices
from homeserver.storage.database import Database
from homeserver.storage.users import UserRow


class AccountModeration:
    """What administrators may see and do of others' accounts. Who asks is checked before anything is looked up."""

    def __init__(self, db: Database, accounts: Users, sessions: Sessions) -> None:
        self._db = db
        self._accounts = accounts
        self._sessions = sessions

    async def target(self, user_id: UserId) -> UserRow:
        """The account, if it may be acted upon. Raises InvalidParam, NotFound, Forbidden (an administrator's)."""
        if domain_of(user_id) != self._accounts.server_name:
            raise InvalidParam("this user is not of this server")
        user = await self._accounts.get(user_id)
        if user.is_deactivated:
            raise NotFound("this account was deactivated")
        if user.is_admin:
            raise Forbidden("this is an administrator's account")
        return user

    async def whois(self, user_id: UserId) -> dict[str, Any]:
        """Devices, each with the connection last seen. Raises NotFound."""
        await self._accounts.get(user_id)
        await self._sessions.flush_sightings()
        seen = await devices.sightings_of(self._db, user_id)
        return {
            one.device_id: {
                "sessions": [{"connections": [{"ip": one.address, "last_seen": one.ts, "user_agent": one.user_agent}]}]
            }
            for one in seen
        }
