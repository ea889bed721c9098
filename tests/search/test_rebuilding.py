"""The index is built anew beside itself while people write and search, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeserver.config import Config
from search.hot.elastic import ElasticIndex
from search.upkeep import storage
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import until
from tests.search.test_search import answered, edit, found, ids

pytestmark = pytest.mark.slow
ENGINES = ["embedded", pytest.param("elasticsearch", marks=pytest.mark.programs("elasticsearch"))]


def config_on(engine: str, folder: Path, request: pytest.FixtureRequest | None) -> Config:
    """A server's configuration on this engine, with an index of its own."""
    if request is None or engine == "embedded":
        return config_for_tests(folder)
    node: ElasticsearchServer = request.getfixturevalue("elasticsearch")
    cluster = node.cluster()
    toml = f'[search]\nengine = "elasticsearch"\n[search.elasticsearch]\nurls = ["{node.url}"]\n'
    return config_for_tests(folder, f'{toml}index_prefix = "{cluster.prefix}"\n')


def again(server: RunningServer, token: str | None, start: int) -> Client:
    """The same device after a restart; its transactions go on."""
    client = server.anonymous()
    client.token, client._transactions = token, start * 1_000
    return client


async def wanted(server: RunningServer, engine: str) -> None:
    async with server.db.transaction() as tx:
        await storage.want(tx, engine, 1)


async def states(server: RunningServer, engine: str) -> dict[int, str]:
    return {one.number: one.state for one in await storage.generations(server.db, engine)}


async def settled(client: Client, term: str) -> list[str]:
    """What is found once nothing is partial."""

    async def is_whole() -> bool:
        return "org.hansa.partial" not in await answered(client, term)

    await until(is_whole, within_s=60)
    answer = await found(client, term, filter={"limit": 200})
    assert answer["count"] == len(answer["results"])
    return [hit["result"]["event_id"] for hit in answer["results"]]


@pytest.mark.parametrize("engine", ENGINES)
async def test_it_is_replaced_under_load(
    database_dsn: str, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """T-O7: answers meanwhile have all that was said before; nothing is lost; what is gone stays so."""
    config = config_on(engine, tmp_path, request)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        sent = [await alice.send(room, f"word {number}") for number in range(20)]
        (await alice.put("/rooms/{}/redact/{}/1", room, sent.pop(3))).ok()
        await edit(alice, room, sent.pop(5), "something else")
        assert await settled(alice, "word") == sent[::-1]
        await wanted(server, engine)

        async def is_replaced() -> bool:
            sent.append(await alice.send(room, f"word {len(sent)}"))
            assert set(await ids(alice, "word", filter={"limit": 200})) >= set(sent[:15])
            return await states(server, engine) == {1: "live"}

        await until(is_replaced, within_s=60)
        sent.append(await alice.send(room, "word at last"))
        assert await settled(alice, "word") == sent[::-1]
        token = alice.token
    async with running_server(database_dsn, config=config) as server:
        alice = again(server, token, 1)
        sent.append(await alice.send(room, "word after a restart"))
        assert await settled(alice, "word") == sent[::-1]
        cursors = await server.db.fetch("SELECT consumer FROM journal_cursors WHERE consumer LIKE 'search%'")
        assert [row["consumer"].endswith("-1") for row in cursors] == [True]
    if engine == "embedded":
        assert [path.name for path in tmp_path.glob("search*")] == ["search-1"]


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_restart_goes_on_where_it_was(
    database_dsn: str, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """Also one that was asked for while no server ran."""
    config = config_on(engine, tmp_path, request)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        sent = [await alice.send(room, f"word {number}") for number in range(5)]
        assert await settled(alice, "word") == sent[::-1]
        await wanted(server, engine)
        await wanted(server, engine)
        token = alice.token
    for run in (1, 2):
        async with running_server(database_dsn, config=config) as server:
            alice = again(server, token, run)
            assert await settled(alice, "word") == sent[::-1]
            sent.append(await alice.send(room, "word again"))

    async with running_server(database_dsn, config=config) as server:
        alice = again(server, token, 3)

        async def is_replaced() -> bool:
            return await states(server, engine) == {1: "live"}

        await until(is_replaced, within_s=60)
        assert await settled(alice, "word") == sent[::-1]


@pytest.mark.programs("elasticsearch")
async def test_the_alias_names_the_generation_that_answers(elasticsearch: ElasticsearchServer) -> None:
    """Whoever looks with other programs sees one of them."""
    from tests.search.test_embedded import document

    cluster = elasticsearch.cluster()
    first, second = ElasticIndex(cluster, 0), ElasticIndex(cluster, 1, is_live=False)
    for index in (first, second):
        await index.clear()
        await index.adopt()
        await index.write([document(1, 5, "word")], [])
    alias = f"{cluster.prefix}-live"
    assert all("-g0-" in name for name in (await first._client.indices.get_alias(name=alias)).body)
    await second.promote()
    assert all("-g1-" in name for name in (await first._client.indices.get_alias(name=alias)).body)
    await first.destroy()
    assert await second.count() == 1
    await second.destroy()
    await first.close()
    await second.close()
