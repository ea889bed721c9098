"""`hansa search verify`: damage is found room by room, and put right by the server that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.assembly.search import engine_of, readers_of
from homeserver.runtime.clock import SystemClock
from search.hot.elastic import ElasticIndex
from search.hot.embedded import EmbeddedIndex
from search.tiers import Document, Refused
from search.upkeep import storage
from search.upkeep.explaining import explain
from search.upkeep.status import status_of
from search.upkeep.verifying import Damage, Verification
from tests.kit.server import RunningServer, running_server
from tests.kit.until import until
from tests.search.test_embedded import document
from tests.search.test_rebuilding import ENGINES, again, config_on, settled


async def lose(index: EmbeddedIndex | ElasticIndex, nid: int, strange: Document) -> None:
    """As a disk does: one document is gone without a trace, and there is one of nowhere."""
    if isinstance(index, EmbeddedIndex):
        assert await index.open()
        _, writer = index._opened()
        writer.delete_documents_by_term("nid", nid)
        writer.commit()
    else:
        hits: Any = await index._client.search(index=index._names.pattern, query={"ids": {"values": [str(nid)]}})
        await index._client.delete(index=hits["hits"]["hits"][0]["_index"], id=str(nid))
    await index.write([strange], [])
    await index.close()


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
async def test_damage_is_found_and_put_right(
    database_dsn: str, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """T-O7: what is missing, what says something else, what shouldn't be there: all in one round."""
    config, clock = config_on(engine, tmp_path, request), SystemClock()
    keeper = engine_of(config)

    def comparison(server: RunningServer) -> Verification:
        return Verification(server.db, keeper, clock, readers_of(config))

    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room, other = await alice.create_room(name="Pier"), await alice.create_room()
        sent = [await alice.send(room, f"word {number}") for number in range(6)]
        await alice.send(other, "word elsewhere")
        (await alice.put("/rooms/{}/redact/{}/1", room, sent.pop(0))).ok()
        assert len(await settled(alice, "word")) == 6
        found = await comparison(server).compare(lambda done, total: None)
        assert not found.damages and found.events == 7 and found.groups == 2
        token = alice.token
        nids = {row["event_id"]: row["event_nid"] for row in await server.db.fetch("SELECT * FROM events")}
        room_nid = await server.db.fetchval("SELECT room_nid FROM events WHERE event_id = $1", sent[0])
        received_ms = await server.db.fetchval("SELECT received_ms FROM events WHERE event_id = $1", sent[0])
    index = keeper.open(0, True)
    assert isinstance(index, EmbeddedIndex | ElasticIndex)
    strange = replace(document(2, 3, "ghost"), room_nid=room_nid, received_ms=received_ms)
    await lose(index, nids[sent[1]], strange)
    index = keeper.open(0, True)
    assert isinstance(index, EmbeddedIndex | ElasticIndex)
    if isinstance(index, EmbeddedIndex):
        await index.open()
    wrong = replace(
        document(nids[sent[2]], nids[sent[2]] + 1_000, "ghost"),
        room_nid=room_nid,
        event_id=sent[2],
        received_ms=received_ms,
    )
    assert not await index.write([wrong], [])
    await index.close()
    async with running_server(database_dsn, config=config) as server:
        alice = again(server, token, 1)
        comparing = comparison(server)
        found = await comparing.compare(lambda done, total: None)
        assert [replace(one, month="") for one in found.damages] == [Damage("", room, 1, 1, 1)]
        await comparing.ask_for(found.repairs)

        async def is_done() -> bool:
            return not await comparing.waiting()

        await until(is_done, within_s=30)
        assert not (await comparing.compare(lambda done, total: None)).damages
        assert set(await settled(alice, "word in:" + room)) == set(sent) and not await settled(alice, "ghost")
        tier = readers_of(config)(0)
        assert await tier.open()
        status = await status_of(server.db, keeper, tier)
        await tier.close()
        assert (status.events, status.dead_letters, status.problem, status.built) == (7, 0, "", None)


@pytest.mark.slow
async def test_what_an_index_refuses_is_a_dead_letter(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-J4: the rest goes on, the reason is kept, and the event is tried again when it is asked for."""
    write = EmbeddedIndex.write

    async def picky(self: EmbeddedIndex, documents: Any, gone: Any) -> Any:
        refused = [one for one in documents if "poison" in one.tokens]
        await write(self, [one for one in documents if one not in refused], gone)
        return [Refused(one.event_id, "too_bitter") for one in refused]

    config = config_on("embedded", tmp_path, None)
    async with running_server(database_dsn, config=config) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        monkeypatch.setattr(EmbeddedIndex, "write", picky)
        poison, word = await alice.send(room, "word poison"), await alice.send(room, "word")
        assert await settled(alice, "word") == [word]
        tier = readers_of(config)(0)
        await tier.open()
        status = await status_of(server.db, engine_of(config), tier)
        await tier.close()
        assert [letter[:2] for letter in status.newest_letters] == [(poison, "too_bitter")]
        monkeypatch.setattr(EmbeddedIndex, "write", write)
        nid = await server.db.fetchval("SELECT event_nid FROM events WHERE event_id = $1", poison)
        async with server.db.transaction() as tx:
            await storage.note_repairs(tx, "embedded", [storage.Repair(nid, 1, poison, False)])

        async def is_found() -> bool:
            return await settled(alice, "word") == [word, poison]

        await until(is_found, within_s=30)
        assert await server.db.fetchval("SELECT count(*) FROM search_dead_letters") == 0


def test_a_query_is_explained() -> None:
    explained = explain('from:me "red harbour" (a OR getUserName) -in:!pier:a wav* before:2025', me="@alice:a")
    assert explained is not None
    assert list(explained.tree) == [
        "all of",
        "  senders @alice:a",
        "  phrase red harbour",
        "  any of",
        "    term a",
        "    term getusername",
        "  not",
        "    inrooms !pier:a",
        "  prefix wav",
        "  between - 1735689600000",
    ]
    assert explained.asked["bool"]["filter"][0] == {"terms": {"sender": ["@alice:a"]}}
    assert explain("!", me="@alice:a") is None
