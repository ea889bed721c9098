"""Which identity servers know which address as whose. They are told, and told to forget, through here."""

from __future__ import annotations

from homeserver.accounts.contacts import Contacts, canonical
from homeserver.accounts.identity_servers import IdentityServers
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import UserId
from homeserver.storage import contacts as table
from homeserver.storage.database import Database


class Bindings:
    """Binds addresses at identity servers and unbinds them."""

    def __init__(self, db: Database, contacts: Contacts, identity: IdentityServers) -> None:
        self._db = db
        self._contacts = contacts
        self._identity = identity

    async def bind(self, user_id: UserId, server: str, token: str, *, sid: str, client_secret: str) -> None:
        """Raises MatrixError."""
        medium, address = await self._identity.bind(
            server, token, sid=sid, client_secret=client_secret, user_id=user_id
        )
        async with self._db.transaction() as tx:
            await table.bind(tx, user_id, medium, address, server)

    async def unbind(self, user_id: UserId, medium: str, address: str, server: str | None) -> bool:
        """At this server, or at every one that was told. Whether all of them have forgotten it."""
        known = await table.bound_at(self._db, user_id, medium, address)
        servers = [server] if server is not None else known
        done = [await self._unbind(user_id, medium, address, one) for one in servers]
        return bool(done) and all(done)

    async def remove(self, user_id: UserId, medium: str, address: str, server: str | None) -> bool:
        """Takes the address from the account, and has identity servers forget it too: whether they have.

        True as well where none was told.
        """
        await self._contacts.remove(user_id, medium, address)
        kept = canonical(medium, address)
        if server is None and not await table.bound_at(self._db, user_id, medium, kept):
            return True
        return await self.unbind(user_id, medium, kept, server)

    async def end(self, user_id: UserId) -> bool:
        """The account ends: all of its addresses go, here and there. Whether that worked everywhere."""
        await self._contacts.remove_all(user_id)
        done = [
            await self._unbind(user_id, medium, address, server)
            for medium, address, server in await table.bindings(self._db, user_id)
        ]
        return all(done)

    async def _unbind(self, user_id: UserId, medium: str, address: str, server: str) -> bool:
        try:
            if not await self._identity.unbind(server, user_id=user_id, medium=medium, address=address):
                return False
        except MatrixError:
            return False
        async with self._db.transaction() as tx:
            await table.unbind(tx, user_id, medium, address, server)
        return True
