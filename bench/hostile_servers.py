"""What a thousand servers cost that don't answer, with a real PostgreSQL.

What the process uses while it talks on, connections tried, and how late a living server hears.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from homeserver.web.outgoing import OutgoingAnswer, OutgoingError
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.foreign_members import join_foreign
from tests.kit.postgres import PostgresForTests, running_postgres

DEAD, MEASURED_S, EVERY_S = 1_000, 30.0, 0.5


class _Dead:
    """A way out to servers of which one lives."""

    def __init__(self, alive: str) -> None:
        self.alive = alive
        self.tried = 0
        self.heard_s: dict[str, float] = {}

    async def request(self, method: str, url: str, *, body: bytes | None = None, **_: Any) -> OutgoingAnswer:
        if self.alive not in url:
            self.tried += 1
            raise OutgoingError("unreachable", "nobody is there")
        for word in (body or b"").split(b'"'):
            if word.startswith(b"say "):
                self.heard_s.setdefault(word.decode(), time.perf_counter())
        return OutgoingAnswer(200, {}, b'{"pdus":{}}', url)

    def stream(self, *_: Any, **__: Any) -> Any:
        raise OutgoingError("unreachable", "nobody is there")

    async def close(self) -> None: ...

    def side_of(self, name: str, way_out: Any) -> _Dead:
        return self


async def _dead_servers(postgres: PostgresForTests, folder: Path) -> None:
    way_out = _Dead("alive.test")
    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, Authority(folder), network=way_out) as server,  # type: ignore[arg-type]
    ):
        alice = await server.user("alice")
        room_id = await alice.create_room()
        names = [f"@bob:dead{number}.test:1" for number in range(DEAD)]
        await join_foreign(server, room_id, [*names, "@bob:alive.test:1"])
        assert server.hansa.federation is not None
        await alice.send(room_id, "say first")
        await asyncio.sleep(DEAD / 20 + 5)
        sent: dict[str, float] = {}
        way_out.tried, began_s, cpu_s = 0, time.perf_counter(), time.process_time()
        for number in range(int(MEASURED_S / EVERY_S)):
            text = f"say {number}"
            sent[text] = time.perf_counter()
            await alice.send(room_id, text)
            await asyncio.sleep(EVERY_S)
        took_s, used_s = time.perf_counter() - began_s, time.process_time() - cpu_s
        late = [way_out.heard_s[text] - at for text, at in sent.items() if text in way_out.heard_s]
        report("dead servers: of a core, sending twice a second", DEAD, 100 * used_s / took_s, "%")
        report("dead servers: connections tried", DEAD, way_out.tried / took_s, "/s")
        report("dead servers: a living one hears after", DEAD, 1000 * max(late), "ms at most")


def run() -> None:
    configure_logging(level="error")
    with running_postgres() as postgres, tempfile.TemporaryDirectory() as folder:
        asyncio.run(_dead_servers(postgres, Path(folder)))
