"""Other servers: which are reached, which are left alone until when and why; one of them, or this one, checked now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from admin.actions.destinations import Destinations
from admin.console.acting import reason_of
from admin.console.desk import Desk, Visit, server_path
from admin.console.export import limit_of
from admin.console.page import page
from admin.console.trace_words import finding
from admin.storage import console_reads, destinations
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import ServerName, is_server_name
from homeserver.core.operators import Permission
from homeserver.runtime.findings import Finding, failed
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_COLUMNS = ("server_name", "failing_since_ms", "retry_at_ms", "failures", "reason")
_KEY_COLUMNS = ("key_id", "valid_until_ms", "is_old")
STATES = ("troubled", "all")
_ROOMS_SHOWN = 100
_CHECK_S = 45.0
_FINDINGS_MAX = 100
# How a server is found and trusted, step by step, looking out of this machine.
Check = Callable[[ServerName], AsyncGenerator[Finding, None]]


class FederationPages:
    """/admin/federation."""

    def __init__(self, desk: Desk, db: Database, actions: Destinations, check: Check, own_name: str) -> None:
        self.desk = desk
        self._db = db
        self._actions = actions
        self._check = check
        self._own_name = own_name

    @page("GET", "/admin/federation", needs=Permission.READ_FEDERATION, reach=Reach.SERVER)
    async def servers(self, visit: Visit) -> Answer:
        state, after = visit.asked("state") or "troubled", visit.asked("after")

        async def fetch(limit: int) -> list[Shown]:
            return await console_reads.servers(self._db, after, limit, only_troubled=state != "all")

        values = {"state": state, "states": STATES, "own_name": self._own_name}
        return await self.desk.listing(
            visit, "servers", _COLUMNS, fetch, values, template="federation", more="server_name"
        )

    @page("GET", "/admin/federation/{server_name}", needs=Permission.READ_FEDERATION, reach=Reach.SERVER)
    async def server(self, visit: Visit, server_name: str) -> Answer:
        return await self._page(visit, server_name)

    @page("POST", "/admin/federation/check", needs=Permission.CHANGE_FEDERATION, reach=Reach.SERVER)
    async def check(self, visit: Visit) -> Answer:
        """Looks at a server now, whatever the back-off says: one of the list, one never heard of, or this one."""
        name = visit.fields.get("server_name", "").strip()
        if not is_server_name(name):
            raise InvalidParam("that can't be a server's name")
        values = {"name": name, "findings": await self._findings(ServerName(name)), "finding": finding}
        return self.desk.page(visit, "server_check", values)

    @page("POST", "/admin/federation/{server_name}/retry", needs=Permission.CHANGE_FEDERATION, reach=Reach.SERVER)
    async def retry(self, visit: Visit, server_name: str) -> Answer:
        await self._actions.reset(ServerName(server_name), by=visit.operator, reason=reason_of(visit))
        return self.desk.go(f"{server_path(server_name)}?done=retry")

    async def _findings(self, name: ServerName) -> Sequence[Finding]:
        found: list[Finding] = []
        try:
            # Closed at once, whatever ends it: it holds connections.
            async with asyncio.timeout(_CHECK_S), aclosing(self._check(name)) as findings:
                async for one in findings:
                    found.append(one)
                    if len(found) == _FINDINGS_MAX:
                        break
        except TimeoutError:
            hint = "look at the network between the two, or type `hansa federation check`, which waits longer"
            found.append(failed("time", f"no end after {_CHECK_S:.0f} s", hint))
        return found

    async def _page(self, visit: Visit, server_name: str) -> Answer:
        name = ServerName(server_name)
        row = await self._actions.one(name)
        limit = limit_of(visit.asked("format"), _ROOMS_SHOWN)
        rooms, count = await destinations.rooms(self._db, name, backwards=False, limit=limit, offset=0)
        keys = await console_reads.server_keys(self._db, server_name)
        values = {
            "server": row,
            "keys": keys,
            "rooms": [room_id for room_id, _ in rooms],
            "count": count,
        }
        listed = [{"room_id": room_id} for room_id, _ in rooms]
        tables = {"keys": (_KEY_COLUMNS, keys), "rooms": (("room_id",), listed)}
        return self.desk.tables(visit, "server", values, tables)
