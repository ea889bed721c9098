"""Damage in all places at once, on the embedded index and a folder: one `verify` finds and repairs it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from homeserver.assembly.search import folder_of
from homeserver.operator import search as operated
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.progress import unseen
from search.hot.embedded import EmbeddedIndex
from search.hot.months import month_of
from tests.kit.archives import bodies, job, objects, search
from tests.kit.server import config_for_tests, running_server
from tests.kit.until import until
from tests.search.test_rebuilding import states, wanted

pytestmark = pytest.mark.slow

OLDER = "UPDATE events SET received_ms = received_ms - $2 WHERE event_id = ANY($1)"
DAYS_62_MS = 62 * 86_400_000


async def _lose(folder: Path, nids: list[int]) -> None:
    """As a disk does: these documents are gone without a trace."""
    index = EmbeddedIndex(folder)
    assert await index.open()
    _, writer = index._opened()
    for nid in nids:
        writer.delete_documents_by_term("nid", nid)
    writer.commit()
    await index.close()


async def test_one_cycle_mends_all(database_dsn: str, tmp_path: Path) -> None:
    """T-O7: some of the index deleted, a file of the archive corrupt, then the whole index dropped. Answers meanwhile
    have nothing that wasn't said, and say that they are partial.
    """
    toml = f'[database]\ndsn = "{database_dsn}"\n[archive]\nstore_path = "{tmp_path}/archive"\n'
    config = replace(config_for_tests(tmp_path, toml), data_dir=tmp_path)
    texts = [f"harbour {number}" for number in range(39, -1, -1)]
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        ids = [await alice.send(room, text) for text in texts[::-1]]
        await server.db.execute(OLDER, ids[:20], DAYS_62_MS)
        await wanted(server, "embedded")

        async def is_replaced() -> bool:
            return await states(server, "embedded") == {1: "live"}

        await until(is_replaced, within_s=60)
        old = month_of(await server.db.fetchval("SELECT received_ms FROM events WHERE event_id = $1", ids[0]))
        assert (await job(server, "run", old))["messages"] == 20
        assert await bodies(alice, "harbour") == texts
        found = await server.db.fetch("SELECT event_nid FROM events WHERE event_id = ANY($1)", [ids[25], ids[31]])
        nids = [row["event_nid"] for row in found]
    await _lose(folder_of(config, 1), nids)
    (path,) = objects(tmp_path / "archive", ".parquet")
    path.write_bytes(bytes(one ^ 0xFF for one in path.read_bytes()))
    async with running_server(database_dsn, config=config) as server:
        alice = await server.login("alice")
        partial = await search(alice, "harbour", filter={"limit": 50})
        assert partial["org.hansa.partial"] is True
        assert {one["result"]["content"]["body"] for one in partial["results"]} <= set(texts)
        verified = await operated.verify(config, SystemClock(), unseen, repairs=True)
        assert [one.missing for one in verified.found.damages] == [2]
        assert verified.left is not None and not verified.left.damages
        assert verified.archive is not None and verified.archive["lost"] == []
        assert await bodies(alice, "harbour") == texts
    shutil.rmtree(folder_of(config, 1))
    async with running_server(database_dsn, config=config) as server:
        alice = await server.login("alice")
        assert await bodies(alice, "harbour") == texts
        verified = await operated.verify(config, SystemClock(), unseen, repairs=True)
        assert not verified.found.damages and verified.left is None
