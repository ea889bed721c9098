"""Bytes over the wire for a client on a thin line: a /sync for each message, one for twenty, with a small filter."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from urllib.parse import quote

import aiohttp
import orjson
import zstandard

from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, config_for_tests, running_server

FILTER = {
    "presence": {"types": []},
    "account_data": {"types": []},
    "room": {
        "account_data": {"types": []},
        "ephemeral": {"types": []},
        "state": {"lazy_load_members": True},
        "timeline": {"limit": 20},
    },
}
TEXT = "Shall we meet at the harbour at noon? I'll bring the papers and a thermos of tea."


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with (
            postgres.fresh() as dsn,
            running_server(dsn, config=config_for_tests(Path(folder))) as server,
            aiohttp.ClientSession(auto_decompress=False) as session,
        ):
            alice, bob = await server.user("alice"), await server.user("bob")
            room_id = await alice.create_room(preset="public_chat")
            await bob.join(room_id)
            for count in (1, 20):
                for encoding in ("identity", "gzip", "zstd"):
                    since = await _since(bob)
                    for number in range(count):
                        await alice.send(room_id, f"{TEXT} ({number})")
                    size = await _size(session, bob, since, encoding)
                    report(f"/sync, bytes a message, {encoding}", count, size / count, "B")


async def _since(client: Client) -> str:
    found: str = (await client.sync(timeout=0, filter=orjson.dumps(FILTER).decode()))["next_batch"]
    return found


async def _size(session: aiohttp.ClientSession, client: Client, since: str, encoding: str) -> int:
    """Of the body as it came over the wire."""
    headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": encoding}
    query = f"?since={quote(since)}&filter={quote(orjson.dumps(FILTER).decode())}"
    async with session.get(f"{client.base_url}/_matrix/client/v3/sync{query}", headers=headers) as answer:
        body = await answer.read()
        if answer.headers.get("Content-Encoding") == "zstd":
            assert zstandard.decompress(body)
        return len(body)


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
