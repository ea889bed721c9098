"""Log-in of people whom the operator's LDAP directory knows, with the password that they have there.

An account belongs to an entry of the directory by the entry's own id: whoever gets a former user's name there doesn't
get the account. Accounts that have a password here are none of the directory's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from homeserver.accounts.newcomers import Welcome
from homeserver.accounts.users import NewUser, Users
from homeserver.core.errors import Forbidden, UserInUse
from homeserver.core.identifiers import UserId, localpart_of
from homeserver.storage import login_tokens
from homeserver.storage.database import Database

if TYPE_CHECKING:
    from homeserver.web.ldap import LdapDirectory

PROVIDER = "ldap"


class DirectoryLogin:
    """Implements `homeserver.accounts.users.Elsewhere` with the accounts of the directory's people."""

    def __init__(self, directory: LdapDirectory, db: Database, users: Users, welcome: Welcome) -> None:
        self._directory = directory
        self._db = db
        self._users = users
        self._welcome = welcome

    async def is_password(self, user_id: UserId, password: str) -> bool:
        """Whether the account is this person's of the directory. Raises Unavailable."""
        entry = await self._directory.prove(localpart_of(user_id), password)
        return entry is not None and await login_tokens.holder(self._db, PROVIDER, entry.entry_id) == user_id

    async def knows(self, user_id: UserId) -> bool:
        return await login_tokens.has_link(self._db, PROVIDER, user_id)

    async def take_in(self, user_id: UserId, password: str) -> bool:
        """Makes the account of somebody whom the directory knows by this name, if nobody has it.

        Whether there is one now. Raises Forbidden for a name that no account here may have, Unavailable.
        """
        name = localpart_of(user_id)
        entry = await self._directory.prove(name, password)
        if entry is None:
            return False
        known = await login_tokens.holder(self._db, PROVIDER, entry.entry_id)
        if known == user_id:  # made meanwhile, by the same person in another app
            return True
        if known is not None:
            # Renamed in the directory: their account keeps the name it has, and is entered by that.
            raise Forbidden(f"log in with the name of your account here: {known}")
        user_id = self._users.new_user_id(name)
        try:
            async with self._db.transaction() as tx:
                await self._users.insert(tx, NewUser(user_id=user_id, display_name=entry.display_name))
                await login_tokens.link(tx, PROVIDER, entry.entry_id, user_id)
        except UserInUse:  # the same person twice at once, or somebody else by that name
            return await login_tokens.holder(self._db, PROVIDER, entry.entry_id) == user_id
        self._welcome(user_id)
        return True
