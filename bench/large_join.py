"""How soon a large room on another server can be read, and how long until all its members are known.

Two servers of the production composition in one process, with TLS between them: the figures hold the work of both. They
run from POST /join until it is answered, until the last message before it was read, and so on.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from bench.harness import report
from homeserver.core.events import Draft
from homeserver.core.identifiers import RoomId, UserId
from homeserver.runtime.logging import configure_logging
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.postgres import PostgresForTests, running_postgres
from tests.kit.server import Client, RunningServer

MEMBERS, OTHER_STATE = 5_000, 5_000
AT_ONCE = 100
LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"lazy_load_members": True}}})


async def _large_room(server: RunningServer, alice: Client) -> RoomId:
    room_id = RoomId(await alice.create_room(preset="public_chat", name="Market", room_version="12"))
    name, writer = server.hansa.config.server_name, server.hansa.rooms.writer
    joins = [
        Draft(
            type="m.room.member",
            sender=UserId(f"@user{number}:{name}"),
            state_key=f"@user{number}:{name}",
            content={"membership": "join", "displayname": f"User {number}"},
            origin_server_ts=1_700_000_000_000 + number,
        )
        for number in range(MEMBERS)
    ]
    others = [
        Draft(
            type="org.example.stall",
            sender=UserId(alice.user_id),
            state_key=f"stall {number}",
            content={"sells": "salt", "number": number},
            origin_server_ts=1_700_000_100_000 + number,
        )
        for number in range(OTHER_STATE)
    ]
    for drafts in (joins, others):
        for at in range(0, len(drafts), AT_ONCE):
            await writer.send_all(room_id, drafts[at : at + AT_ONCE])
    await alice.send(room_id, "welcome")
    return room_id


class _Watch:
    """Time since it was made, and the processor time of this process: of both servers, the database's not counted."""

    def __init__(self) -> None:
        self._wall_s, self._cpu_s = time.perf_counter(), time.process_time()

    def report(self, what: str) -> None:
        report(f"large join: {what}", MEMBERS + OTHER_STATE, time.perf_counter() - self._wall_s, "s")
        report(f"large join: {what}, CPU", MEMBERS + OTHER_STATE, time.process_time() - self._cpu_s, "s")


class _Asking:
    """A client that doesn't check what it gets against the specification, as the tests' one does."""

    def __init__(self, server: RunningServer, client: Client) -> None:
        self._base_url = server.base_url + "/_matrix/client/v3"
        self._headers = {"Authorization": f"Bearer {client.token}"}

    async def json(self, method: str, path: str) -> Any:
        async with aiohttp.ClientSession(headers=self._headers) as session:
            url = URL(self._base_url + path, encoded=True)
            async with session.request(method, url, json={} if method == "POST" else None) as answer:
                body = orjson.loads(await answer.read())
                assert answer.status == 200, body
                return body


async def _measure(postgres: PostgresForTests, authority: Authority) -> None:
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(postgres.fresh()) for _ in range(2)]
        here, there = [await stack.enter_async_context(federated_server(dsn, authority)) for dsn in (one, two)]
        alice, eve = await here.user("alice"), await there.user("eve")
        room_id = await _large_room(here, alice)
        watch = _Watch()
        ask = _Asking(there, eve)
        await ask.json("POST", f"/join/{quote(room_id)}?server_name={here.hansa.config.server_name}")
        watch.report("joined")
        page = await ask.json("GET", f"/rooms/{quote(room_id)}/messages?dir=b&limit=10")
        assert any(event["content"].get("body") == "welcome" for event in page["chunk"])
        watch.report("first message read")
        told = await ask.json("GET", f"/sync?filter={quote(LAZY)}")
        assert told["rooms"]["join"][room_id]["timeline"]["events"]
        watch.report("room in a lazy sync")
        members = (await ask.json("GET", f"/rooms/{quote(room_id)}/joined_members"))["joined"]
        assert len(members) == MEMBERS + 2
        watch.report("all members known")


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        await _measure(postgres, Authority(Path(folder)))


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
