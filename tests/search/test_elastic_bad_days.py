"""A cluster behind TLS and keys, with nodes that are dead, slow, red or full: answers say so; it heals by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from search.hot.elastic import Cluster, ElasticIndex
from search.tiers import TierFault, TierLost
from tests.kit.authority import Authority
from tests.kit.elastic_gate import ElasticGate, elastic_gate
from tests.kit.elasticsearch import ElasticsearchServer
from tests.kit.ports import free_port
from tests.kit.server import Client
from tests.kit.until import until
from tests.search.test_elastic import found as found_by
from tests.search.test_elastic_server import eventually, impatient, is_partial, server_on
from tests.search.test_embedded import ANY, document
from tests.search.test_search import found

__all__ = ["impatient"]
pytestmark = [pytest.mark.slow, pytest.mark.programs("elasticsearch")]
KEY = "aWQ6a2V5"


async def refused(cluster: Cluster) -> str:
    """Why a search there fails; not because anything were lost."""
    index = ElasticIndex(cluster)
    try:
        with pytest.raises(TierFault) as raised:
            await index.find(ANY)
        assert not isinstance(raised.value, TierLost)
        return str(raised.value)
    finally:
        await index.close()


async def test_a_cluster_behind_tls_and_a_key(elasticsearch: ElasticsearchServer, tmp_path: Path) -> None:
    """T-O7: its certificate is checked by the authority that was named, and it is told the key; whoever has neither
    finds nothing, and doesn't take the index for lost."""
    ours, others = Authority(tmp_path), tmp_path / "others"
    others.mkdir()
    async with elastic_gate(elasticsearch.url, api_key=KEY, authority=ours) as gate:
        cluster = replace(gate.cluster(elasticsearch.cluster(), scheme="https"), ca_path=str(ours.ca_path))
        index = ElasticIndex(cluster)
        await index.adopt()
        assert not await index.write([document(1, 5, "word")], [])
        assert await found_by(index, "word") == [1] and not gate.turned_away
        assert "401" in await refused(replace(cluster, api_key="b3RoZXI6a2V5"))
        assert "401" in await refused(replace(cluster, api_key=None))
        asked = gate.asked
        assert await refused(replace(cluster, ca_path=str(Authority(others).ca_path)))
        assert await refused(replace(cluster, ca_path=None)) and gate.asked == asked
        await index.clear()
        await index.close()


async def test_nodes_that_are_dead(elasticsearch: ElasticsearchServer) -> None:
    """T-O7: of four nodes one is left: everything is written and found as before."""
    cluster = elasticsearch.cluster()
    dead = tuple(f"http://127.0.0.1:{free_port()}" for _ in range(3))
    index = ElasticIndex(replace(cluster, urls=(*dead, *cluster.urls)))
    await index.adopt()
    assert (await index.health()).startswith("green, 1 nodes")
    for nid in range(1, 6):
        assert not await index.write([document(nid, 5, "word")], [])
        assert await found_by(index, "word") == list(range(nid, 0, -1))
    await index.clear()
    await index.close()


Trouble = Callable[[ElasticsearchServer, ElasticGate, Cluster], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def slow(node: ElasticsearchServer, gate: ElasticGate, cluster: Cluster) -> AsyncIterator[None]:
    """Slower than anybody waits."""
    gate.delay_s = 2.5
    yield
    gate.delay_s = 0.0


@asynccontextmanager
async def shut(node: ElasticsearchServer, gate: ElasticGate, cluster: Cluster) -> AsyncIterator[None]:
    gate.is_shut = True
    yield
    gate.is_shut = False


@asynccontextmanager
async def full(node: ElasticsearchServer, gate: ElasticGate, cluster: Cluster) -> AsyncIterator[None]:
    """As a cluster makes itself when its disks are nearly full."""
    index = ElasticIndex(replace(cluster, urls=(node.url,), timeout_s=30.0))
    indices, names = index._client.indices, f"{cluster.prefix}-*"
    await indices.put_settings(index=names, settings={"index.blocks.read_only_allow_delete": True})
    yield
    await indices.put_settings(index=names, settings={"index.blocks.read_only_allow_delete": None})
    await index.close()


@pytest.mark.parametrize("trouble", [slow, shut, full])
async def test_a_bad_day(
    database_dsn: str, tmp_path: Path, elasticsearch: ElasticsearchServer, trouble: Trouble
) -> None:
    """T-O7: messages are sent as before, answers say that they are partial; it catches up by itself, nothing is lost,
    nothing is there twice."""
    async with elastic_gate(elasticsearch.url) as gate:
        cluster = gate.cluster(elasticsearch.cluster(timeout_s=1.0))
        async with server_on(database_dsn, tmp_path, cluster) as server:
            alice = await server.user("alice")
            room = await alice.create_room()
            sent = [await alice.send(room, f"word {number}") for number in range(3)]
            await eventually(alice, "word", sent[::-1])
            async with trouble(elasticsearch, gate, cluster):
                sent += [await alice.send(room, f"word again {number}") for number in range(20)]
                (await alice.put("/rooms/{}/redact/{}/1", room, sent[0])).ok()
                await until(lambda: is_partial(alice, "word"))
                sent.append(await alice.send(room, "word at last"))
                assert await is_partial(alice, "word")
            await all_of_it(alice, sent[:0:-1])
    index = ElasticIndex(replace(cluster, urls=(elasticsearch.url,), timeout_s=30.0))
    await index.clear()
    await index.close()


async def test_a_red_cluster(database_dsn: str, tmp_path: Path, elasticsearch: ElasticsearchServer) -> None:
    """T-O7: no node may have the month's index: it is made, and takes and answers nothing until one may."""
    cluster = elasticsearch.cluster(timeout_s=1.0)
    index = ElasticIndex(replace(cluster, timeout_s=30.0))
    indices, names = index._client.indices, f"{cluster.prefix}-*"
    async with server_on(database_dsn, tmp_path, cluster) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        await eventually(alice, "word", [])
        made = (await indices.get_index_template(name=names))["index_templates"][0]["index_template"]
        made["template"]["settings"]["index"]["routing.allocation.require._name"] = "nobody"
        body = {"index_patterns": made["index_patterns"], "priority": 600, "template": made["template"]}
        await indices.put_index_template(name=f"{cluster.prefix}.red", body=body)
        sent = [await alice.send(room, f"word {number}") for number in range(10)]

        async def is_red() -> bool:
            return bool((await index._client.cluster.health(index=names))["status"] == "red")

        await until(is_red)
        (await alice.put("/rooms/{}/redact/{}/1", room, sent[0])).ok()
        assert await is_partial(alice, "word")
        sent.append(await alice.send(room, "word at last"))
        assert await is_partial(alice, "word")
        await indices.delete_index_template(name=f"{cluster.prefix}.red")
        await indices.put_settings(index=names, settings={"index.routing.allocation.require._name": None})
        await all_of_it(alice, sent[:0:-1])
    await index.clear()
    await index.close()


async def all_of_it(client: Client, expected: list[str]) -> None:
    """That it is found and counted once each, and that no answer is partial any more."""

    async def is_so() -> bool:
        answer = await found(client, "word", filter={"limit": 100})
        if "org.hansa.partial" in answer or answer["count"] != len(expected):
            return False
        return [hit["result"]["event_id"] for hit in answer["results"]] == expected

    await until(is_so, within_s=120)
