"""A server's archive as tests drive it: the jobs of the command line, done at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from homeserver.runtime.clock import SystemClock
from search.archive import jobs
from tests.kit.server import Client, RunningServer


async def job(server: RunningServer, kind: str, month: str | None = None, *, is_forced: bool = True) -> Any:
    """What came of it."""
    async with server.db.transaction() as tx:
        job_nid = await jobs.ask(tx, kind, month, 0, is_forced=is_forced)
    while True:
        found = await jobs.one(server.db, job_nid)
        assert found is not None
        if found.result is not None:
            return found.result
        await SystemClock().sleep(0.05)


async def search(client: Client, term: str, **criteria: Any) -> Any:
    """The answer's `room_events`."""
    body = {"search_categories": {"room_events": {"search_term": term, "order_by": "recent", **criteria}}}
    return (await client.post("/search", body=body)).ok()["search_categories"]["room_events"]


async def bodies(client: Client, term: str) -> list[str]:
    """What is found, newest first, once the answer is whole; fails where it stays partial."""
    found = await search(client, term, filter={"limit": 50})
    for _ in range(600):
        if "org.hansa.partial" not in found:
            break
        await SystemClock().sleep(0.1)  # an index may be behind for a moment
        found = await search(client, term, filter={"limit": 50})
    assert "org.hansa.partial" not in found, found
    texts = [one["result"]["content"]["body"] for one in found["results"]]
    assert found["count"] == len(texts)
    return texts


def objects(folder: Path, suffix: str) -> list[Path]:
    """The store's objects that end so."""
    return sorted(path for path in folder.rglob(f"*{suffix}") if "parts" not in path.parts)
