"""What operators do about other servers."""

from __future__ import annotations

from admin.audit import AuditLog, entry_of
from admin.storage import destinations
from admin.storage.destinations import DestinationRow
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import ServerName
from homeserver.core.operators import Permission
from homeserver.ports import ServerReach
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator


class Destinations:
    """Servers, and whether they can be reached. Without `reach` this server talks with no others."""

    def __init__(self, db: Database, audit: AuditLog, reach: ServerReach | None, server_name: ServerName) -> None:
        self._db = db
        self._audit = audit
        self._reach = reach
        self.server_name = server_name

    async def one(self, server: ServerName) -> DestinationRow:
        """Raises NotFound."""
        row = await destinations.one(self._db, server) if server != self.server_name else None
        if row is None:
            raise NotFound("Unknown destination")
        return row

    async def reset(self, server: ServerName, *, by: Operator, reason: str | None = None) -> None:
        """Has a server that failed tried again now. Raises NotFound, MatrixError for one that is well."""
        by.check(Permission.CHANGE_FEDERATION)
        await self.one(server)
        if self._reach is None or not self._reach.is_failing(server):
            raise MatrixError("The retry timing does not need to be reset for this destination.")
        async with self._db.transaction() as tx:
            await self._audit.record(tx, entry_of(by, "destination.reset", server, reason=reason))
        self._reach.try_again(server)
