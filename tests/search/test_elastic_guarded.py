"""A node that guards itself, as every cluster outside of a test does: TLS, and users with few privileges."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from search.hot.elastic import Cluster, ElasticIndex
from search.tiers import Gone
from tests.kit.authority import Authority
from tests.kit.elasticsearch import OTHERS, OURS, PASSWORD, ElasticsearchServer, running_elasticsearch
from tests.kit.ports import free_port
from tests.kit.server import config_for_tests, running_server
from tests.search.test_elastic import found as found_by
from tests.search.test_elastic_bad_days import refused
from tests.search.test_elastic_server import eventually
from tests.search.test_embedded import document
from tests.search.test_search import edit

pytestmark = [pytest.mark.slow, pytest.mark.programs("elasticsearch")]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ElasticsearchServer, Authority]]:
    """The node, and who vouches for it."""
    authority = Authority(tmp_path_factory.mktemp("authority"))
    with running_elasticsearch(authority=authority) as node:
        yield node, authority


async def test_the_privileges_of_the_docs(guarded: tuple[ElasticsearchServer, Authority]) -> None:
    """T-O7: enough for all that an index ever does; another's name, a wrong password, a key of nobody find nothing."""
    node, authority = guarded
    cluster = replace(node.cluster(prefix=OURS), ca_path=str(authority.ca_path))
    await _lives(replace(cluster, user=(OURS, PASSWORD)))
    assert "403" in await refused(replace(cluster, user=(OTHERS, PASSWORD)))
    assert "401" in await refused(replace(cluster, user=(OURS, "wrong")))
    assert "401" in await refused(replace(cluster, api_key="b3RoZXI6a2V5"))
    assert "401" in await refused(cluster)
    assert await refused(replace(cluster, user=(OURS, PASSWORD), ca_path=None))


async def _lives(cluster: Cluster) -> None:
    """Everything that an index does, from its first document to its end."""
    index = ElasticIndex(cluster, 1, is_live=False)
    await index.clear()
    await index.adopt()
    assert not await index.write([document(nid, 5, "word") for nid in (1, 2, 3, 4)], [])
    assert await found_by(index, "word") == [4, 3, 2, 1]
    await index.promote()
    await index.write([], [Gone(1, 1, 6, "$1", None)])
    await index.let_go([Gone(2, 1, 6, "$2", 2)])
    assert await found_by(index, "word") == [4, 3] and await index.count() == 2
    ((month, room),) = await index.census()
    assert [one.event_nid for one in await index.held(month, room)] == [3, 4]
    assert await index.size() and "nodes" in await index.health()
    await index.forget_rooms([1])
    assert await found_by(index, "word") == []
    await index.destroy()
    await index.close()


async def test_a_server_with_a_password_and_a_node_that_is_down(
    database_dsn: str, tmp_path: Path, guarded: tuple[ElasticsearchServer, Authority]
) -> None:
    """T-O7: as its operator configures it: a secret in a file, an authority, two addresses of which one is dead."""
    node, authority = guarded
    password_path = tmp_path / "password"
    password_path.write_text(PASSWORD + "\n")
    password_path.chmod(0o600)
    config = config_for_tests(
        tmp_path,
        f"""
[search]
engine = "elasticsearch"
[search.elasticsearch]
urls = ["https://127.0.0.1:{free_port()}", "{node.url}"]
username = "{OURS}"
password_path = "{password_path}"
ca_path = "{authority.ca_path}"
index_prefix = "{OURS}-server"
""",
    )
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        said = await alice.send(room, "harbour")
        await eventually(alice, "harbour", [said])
        await edit(alice, room, said, "lighthouse")
        await eventually(alice, "lighthouse", [said])
        await eventually(alice, "harbour", [])
