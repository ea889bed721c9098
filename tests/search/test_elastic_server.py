"""A whole server on a real Elasticsearch, and what happens to it while the cluster has a bad day."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from search import indexer
from search.hot.elastic import Cluster, ElasticIndex
from tests.kit.elasticsearch import ElasticsearchServer, running_elasticsearch
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import SOON_S, a_moment, until
from tests.search.test_search import answered, edit, found, ids

pytestmark = [pytest.mark.slow, pytest.mark.programs("elasticsearch")]


@pytest.fixture(scope="module")
def mortal() -> Iterator[ElasticsearchServer]:
    """A node that the tests of this module may kill."""
    with running_elasticsearch() as server:
        yield server


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried again every second, not every minute."""
    monkeypatch.setattr(indexer, "RETRY_MAX_S", 1.0)


@asynccontextmanager
async def server_on(dsn: str, folder: Path, cluster: Cluster) -> AsyncIterator[RunningServer]:
    toml = f"""
[search]
engine = "elasticsearch"
[search.elasticsearch]
urls = ["{cluster.urls[0]}"]
index_prefix = "{cluster.prefix}"
timeout_s = {cluster.timeout_s}
"""
    async with running_server(dsn, config=config_for_tests(folder, toml)) as server:
        yield server


async def eventually(client: Client, term: str, expected: list[str]) -> None:
    """That it is found, and nothing else, once the answer isn't partial any more."""

    async def is_so() -> bool:
        answer = await answered(client, term)
        return (
            "org.hansa.partial" not in answer and [hit["result"]["event_id"] for hit in answer["results"]] == expected
        )

    await until(is_so, within_s=60)


async def is_partial(client: Client, term: str) -> bool:
    return "org.hansa.partial" in await answered(client, term)


async def test_what_is_said_is_found(database_dsn: str, tmp_path: Path, elasticsearch: ElasticsearchServer) -> None:
    """T-G11: sent, edited, redacted; after a restart; and after the cluster lost all of it."""
    cluster = elasticsearch.cluster()
    async with server_on(database_dsn, tmp_path, cluster) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        await eventually(alice, "harbour", [])
        first, second = await alice.send(room, "red harbour"), await alice.send(room, "green harbour")
        await eventually(alice, "harbour", [second, first])
        await edit(alice, room, first, "red pier")
        (await alice.put("/rooms/{}/redact/{}/1", room, second)).ok()
        third = await alice.send(room, "the 港口 harbour")
        assert await ids(alice, "harbour") == [third] and await ids(alice, "pier 港口 OR pier") == [first]
        token = alice.token
    async with server_on(database_dsn, tmp_path, cluster) as server:
        alice = server.anonymous()
        alice.token = token
        await eventually(alice, "harbour", [third])
        index = ElasticIndex(cluster)
        await index.clear()
        await index.close()
        await eventually(alice, "harbour", [third])
        await eventually(alice, "pier", [first])


Trouble = Callable[[ElasticsearchServer, Cluster], AsyncIterator[None]]


@asynccontextmanager
async def killed(node: ElasticsearchServer, cluster: Cluster) -> AsyncIterator[None]:
    node.kill()
    yield
    await node.restart()


@asynccontextmanager
async def frozen(node: ElasticsearchServer, cluster: Cluster) -> AsyncIterator[None]:
    node.freeze()
    yield
    node.thaw()


@asynccontextmanager
async def read_only(node: ElasticsearchServer, cluster: Cluster) -> AsyncIterator[None]:
    """As a cluster makes itself when its disks are nearly full."""
    index = ElasticIndex(cluster)
    settings = index._client.indices
    await settings.put_settings(index=f"{cluster.prefix}-*", settings={"index.blocks.read_only_allow_delete": True})
    yield
    await settings.put_settings(index=f"{cluster.prefix}-*", settings={"index.blocks.read_only_allow_delete": None})
    await index.close()


@pytest.mark.parametrize("trouble", [killed, frozen, read_only])
async def test_a_bad_day_of_the_cluster(
    database_dsn: str, tmp_path: Path, mortal: ElasticsearchServer, trouble: Trouble
) -> None:
    """T-O7: it is killed under load, answers nothing, takes nothing: messages are sent as before, answers say that they
    are partial, and it catches up by itself: nothing is lost, nothing is there twice."""
    cluster = mortal.cluster(timeout_s=1.0)
    async with server_on(database_dsn, tmp_path, cluster) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        sent = [await alice.send(room, f"word {number}") for number in range(5)]
        await eventually(alice, "word", sent[::-1])

        async def say(count: int) -> None:
            for number in range(count):
                async with asyncio.timeout(SOON_S):
                    sent.append(await alice.send(room, f"word again {number}"))

        load = asyncio.create_task(say(60))
        await a_moment()
        async with trouble(mortal, cluster):  # type: ignore[attr-defined]
            await load
            assert await is_partial(alice, "word")
            (await alice.put("/rooms/{}/redact/{}/1", room, sent[0])).ok()
            late = await alice.send(room, "word at last")
            assert await is_partial(alice, "word")
        expected = [late, *sent[:0:-1]]
        await eventually(alice, "word", expected[:10])
        answer = await found(alice, "word", filter={"limit": 100})
        assert [hit["result"]["event_id"] for hit in answer["results"]] == expected and answer["count"] == len(expected)


async def test_a_server_starts_without_its_cluster(
    database_dsn: str, tmp_path: Path, mortal: ElasticsearchServer
) -> None:
    """T-O7"""
    mortal.kill()
    async with server_on(database_dsn, tmp_path, mortal.cluster(timeout_s=1.0)) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        sent = await alice.send(room, "word")
        assert await is_partial(alice, "word")
        await mortal.restart()
        await eventually(alice, "word", [sent])
