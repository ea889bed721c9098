"""Out of a real Elasticsearch into the archive and back: nothing is lost, doubled or found at the wrong place."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from homeserver.assembly.search import readers_of
from homeserver.config import Config
from homeserver.operator import search as operated
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.progress import unseen
from search.archive import catalog
from search.hot.elastic import ElasticIndex
from search.hot.months import month_of
from tests.kit.archives import bodies, job, search
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.s3 import ACCESS, BUCKET, SECRET, s3_store
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import until
from tests.search.test_rebuilding import states, wanted

pytestmark = [pytest.mark.slow, pytest.mark.programs("elasticsearch", "versitygw")]

DAYS_62_MS = 62 * 86_400_000
OLDER = "UPDATE events SET received_ms = received_ms - $2 WHERE event_id = ANY($1)"


class Place:
    """A server with its words in Elasticsearch and its archive in a bucket."""

    def __init__(self, dsn: str, folder: Path, node: ElasticsearchServer, store: Any) -> None:
        self._dsn = dsn
        self.store: Path = store.folder
        prefix = node.cluster().prefix
        toml = f'[database]\ndsn = "{dsn}"\n[search]\nengine = "elasticsearch"\n[search.elasticsearch]\n'
        toml += f'urls = ["{node.url}"]\nindex_prefix = "{prefix}"\n[archive]\nstore = "s3"\n[archive.s3]\n'
        toml += f'bucket = "{BUCKET}"\nendpoint = "{store.endpoint}"\n'
        toml += f'access_key_id = "{ACCESS}"\nsecret_access_key = "{SECRET}"\n'
        self.config: Config = config_for_tests(folder, toml)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[RunningServer]:
        async with running_server(self._dsn, config=self.config) as server:
            yield server

    async def hot(self) -> dict[str, int]:
        """How many events Elasticsearch has of each month."""
        tier = readers_of(self.config)(1)
        assert isinstance(tier, ElasticIndex)
        try:
            found: dict[str, int] = {}
            for (month, _), tally in (await tier.census()).items():
                found[month] = found.get(month, 0) + tally.documents
            return found
        finally:
            await tier.close()

    async def indices(self) -> set[str]:
        tier = readers_of(self.config)(1)
        assert isinstance(tier, ElasticIndex)
        try:
            return {name[-7:] for name in await tier._indices()}
        finally:
            await tier.close()


@pytest.fixture
async def place(database_dsn: str, tmp_path: Path, elasticsearch: ElasticsearchServer) -> AsyncIterator[Place]:
    async with s3_store() as store:
        yield Place(database_dsn, tmp_path, elasticsearch, store)


async def _two_months(server: RunningServer, alice: Client, each: int) -> tuple[str, list[str], tuple[str, str]]:
    """A room with so many messages in each of two months, the older first; their ids, and both months."""
    room = await alice.create_room()
    ids = [await alice.send(room, f"harbour {number}") for number in range(2 * each)]
    await server.db.execute(OLDER, ids[:each], DAYS_62_MS)
    await wanted(server, "elasticsearch")

    async def is_replaced() -> bool:
        return await states(server, "elasticsearch") == {1: "live"}

    await until(is_replaced, within_s=60)
    found = "SELECT received_ms FROM events WHERE event_id = $1"
    months = [month_of(await server.db.fetchval(found, one)) for one in (ids[0], ids[-1])]
    return room, ids, (months[0], months[1])


async def test_a_month_leaves_elasticsearch_and_comes_back(place: Place) -> None:
    """T-O7, T-G23: its index is gone once the files were read back; every answer is the same before and after."""
    async with place.running() as server:
        alice = await server.user("alice")
        room, ids, (old, new) = await _two_months(server, alice, 8)
        texts = [f"harbour {number}" for number in range(15, -1, -1)]
        assert await bodies(alice, "harbour") == texts
        assert await place.hot() == {old: 8, new: 8}
        assert (await job(server, "run", old))["messages"] == 8
        assert await place.hot() == {new: 8} and await place.indices() == {new}
        assert await bodies(alice, "harbour") == texts and await bodies(alice, '"harbour 3"') == ["harbour 3"]
        (await alice.put("/rooms/{}/redact/{}/t1", room, ids[2])).ok()
        (await alice.put("/rooms/{}/redact/{}/t2", room, ids[12])).ok()
        kept = [text for text in texts if text not in ("harbour 2", "harbour 12")]
        assert await bodies(alice, "harbour") == kept
        await job(server, "compact")
        assert await bodies(alice, "harbour") == kept
    async with place.running() as server:
        alice = await server.login("alice")
        assert await bodies(alice, "harbour") == kept
        assert (await job(server, "restore", old))["messages"] == 7
        assert await bodies(alice, "harbour") == kept
        assert await place.hot() == {old: 7, new: 7}
        assert (await job(server, "run", old))["messages"] == 7
        assert await place.indices() == {new}
        assert await bodies(alice, "harbour") == kept


async def test_what_left_a_moment_ago_comes_back(place: Place) -> None:
    """T-O7: with nothing said in between, beside others of its month that never left."""
    async with place.running() as server:
        alice = await server.user("alice")
        stays, goes = await alice.create_room(), await alice.create_room()
        await alice.send(stays, "harbour stays")
        await alice.send(goes, "harbour goes")
        await wanted(server, "elasticsearch")

        async def is_replaced() -> bool:
            return await states(server, "elasticsearch") == {1: "live"}

        await until(is_replaced, within_s=60)
        async with server.db.transaction() as tx:
            nid = await tx.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", stays)
            await catalog.set_room_age(tx, nid, None)
        (month,) = (await job(server, "run"))["months"]
        assert await place.hot() == {month: 1}
        assert (await job(server, "restore", month))["messages"] == 2
        assert await place.hot() == {month: 2}
        assert await bodies(alice, "harbour") == ["harbour goes", "harbour stays"]


async def test_what_is_damaged_in_all_places_is_mended_at_once(place: Place) -> None:
    """T-O7: a hundredth of the index deleted, a file of the archive corrupt, a month's index dropped: one `verify`
    finds and repairs all of it. Answers meanwhile are never wrong, and say that they are partial.
    """
    async with place.running() as server:
        alice = await server.user("alice")
        _, ids, (old, new) = await _two_months(server, alice, 100)
        assert (await job(server, "run", old))["messages"] == 100
        texts = [f"harbour {number}" for number in range(199, -1, -1)]
        assert await _all(alice) == texts
        tier = readers_of(place.config)(1)
        assert isinstance(tier, ElasticIndex)
        (name,) = await tier._indices()
        for event_id in (ids[150], ids[151]):
            nid = str(await server.db.fetchval("SELECT event_nid FROM events WHERE event_id = $1", event_id))
            held = await tier._client.get(index=name, id=nid, realtime=True)
            # As a disk does it: nothing newer is left.
            as_of: Any = {"version": held["_version"], "version_type": "external_gte"}
            await tier._client.delete(index=name, id=nid, refresh=True, **as_of)
        (path,) = place.store.rglob("*.parquet")
        path.write_bytes(bytes(one ^ 0xFF for one in path.read_bytes()))
        found = await search(alice, "harbour", filter={"limit": 50})
        assert found["org.hansa.partial"] is True
        shown = {one["result"]["content"]["body"] for one in found["results"]}
        assert shown and shown <= set(texts)
        verified = await operated.verify(place.config, SystemClock(), unseen, repairs=True)
        assert [(one.month, one.missing) for one in verified.found.damages] == [(new, 2)]
        assert verified.left is not None and not verified.left.damages
        assert verified.archive is not None and len(verified.archive["repaired"]) == 1
        assert await _all(alice) == texts
        await tier._client.indices.delete(index=name)
        await tier.close()
        found = await search(alice, "harbour", filter={"limit": 50})
        assert found["org.hansa.partial"] is True

        async def is_whole() -> bool:
            return "org.hansa.partial" not in await search(alice, "harbour")

        await until(is_whole, within_s=60)
        assert await _all(alice) == texts
        verified = await operated.verify(place.config, SystemClock(), unseen, repairs=True)
        assert not verified.found.damages and verified.left is None


async def _all(client: Client) -> list[str]:
    """All that is found, page by page, newest first; once the answer is whole."""
    texts: list[str] = []
    token = ""

    async def is_whole() -> bool:
        return "org.hansa.partial" not in await search(client, "harbour")

    await until(is_whole, within_s=60)
    criteria = {"search_term": "harbour", "order_by": "recent", "filter": {"limit": 100}}
    while True:
        query = {"next_batch": token} if token else {}
        body = {"search_categories": {"room_events": criteria}}
        answer = (await client.request("POST", "/search", body=body, query=query)).ok()
        found = answer["search_categories"]["room_events"]
        texts += [one["result"]["content"]["body"] for one in found["results"]]
        token = found.get("next_batch", "")
        if not token:
            return texts
