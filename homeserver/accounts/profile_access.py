"""Who may look up whose profile, where that isn't everyone. spec: client-server-api/#profiles"""

from __future__ import annotations

from typing import Literal

from homeserver.core.errors import Forbidden, MissingToken
from homeserver.core.identifiers import ServerName, UserId
from homeserver.storage import memberships, presence
from homeserver.storage.database import Reader
from homeserver.web.endpoint import Caller

Lookups = Literal["everyone", "users", "sharing"]
_REFUSED = "you share no room with this user"


class ProfileAccess:
    """Asked before a profile is read, whether it exists or not: a refusal tells of no account."""

    def __init__(self, db: Reader, lookups: Lookups) -> None:
        self._db = db
        self._lookups = lookups

    async def check(self, caller: Caller | None, user_id: UserId) -> None:
        """Raises MissingToken, Forbidden. One query at most. Bridges see all profiles."""
        if self._lookups == "everyone":
            return
        if caller is None:
            raise MissingToken("profiles of this server are for those who have logged in")
        if self._lookups == "users" or caller.user_id == user_id or caller.appservice_id is not None:
            return
        if not await memberships.share_room(self._db, caller.user_id, user_id):
            raise Forbidden(_REFUSED)

    async def check_server(self, origin: ServerName, user_id: UserId) -> None:
        """Raises Forbidden. One query at most."""
        if self._lookups == "sharing" and not await presence.sharing_with_server(self._db, [user_id], origin):
            raise Forbidden(_REFUSED)
