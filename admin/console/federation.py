"""Other servers: which are reached, which are left alone until when and why; one of them asked now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from admin.actions.destinations import Destinations
from admin.console.acting import reason_of
from admin.console.desk import Desk, Visit, server_path
from admin.console.page import page
from admin.storage import console_reads, destinations
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName, is_server_name
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer

_COLUMNS = ("server_name", "failing_since_ms", "retry_at_ms", "failures", "reason")
STATES = ("troubled", "all")
_ROOMS_SHOWN = 100
# Asks a server now: its software and version, or why there is no answer.
Ask = Callable[[ServerName], Awaitable[Mapping[str, str]]]


class FederationPages:
    """/admin/federation."""

    def __init__(self, desk: Desk, db: Database, actions: Destinations, ask: Ask | None) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions
        self._ask = ask

    @page("GET", "/admin/federation", needs=Permission.READ_FEDERATION)
    async def servers(self, visit: Visit) -> Answer:
        state, after = visit.asked("state") or "troubled", visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.servers(self._db, after, limit, only_troubled=state != "all")

        values = {"state": state, "states": STATES}
        return await self.desk.listing(
            visit, "servers", _COLUMNS, fetch, values, template="federation", more="server_name"
        )

    @page("GET", "/admin/federation/{server_name}", needs=Permission.READ_FEDERATION)
    async def server(self, visit: Visit, server_name: str) -> Answer:
        return await self._page(visit, server_name, {})

    @page("POST", "/admin/federation/{server_name}/ask", needs=Permission.CHANGE_FEDERATION)
    async def ask(self, visit: Visit, server_name: str) -> Answer:
        """Asks it for its version now, whatever the back-off says."""
        if self._ask is None or not is_server_name(server_name):
            raise InvalidParam("this server talks with no others")
        await self._actions.one(ServerName(server_name))
        return await self._page(visit, server_name, await self._ask(ServerName(server_name)))

    @page("POST", "/admin/federation/{server_name}/retry", needs=Permission.CHANGE_FEDERATION)
    async def retry(self, visit: Visit, server_name: str) -> Answer:
        await self._actions.reset(ServerName(server_name), by=visit.operator, reason=reason_of(visit))
        return self.desk.go(f"{server_path(server_name)}?done=retry")

    async def _page(self, visit: Visit, server_name: str, answer: Mapping[str, str]) -> Answer:
        name = ServerName(server_name)
        row = await self._actions.one(name)
        rooms, count = await destinations.rooms(self._db, name, backwards=False, limit=_ROOMS_SHOWN, offset=0)
        values = {
            "server": row,
            "keys": await console_reads.server_keys(self._db, server_name),
            "rooms": [room_id for room_id, _ in rooms],
            "count": count,
            "answer": answer,
            "may_ask": self._ask is not None,
        }
        return self.desk.page(visit, "server", values)
