"""Bodies that left the database, as other servers get them: whole and signed; and what if they can't be read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from federation.client import FederationError, path_of
from homeserver.core import canonical_json
from homeserver.core.events import event_id_of, is_content_intact
from homeserver.core.room_versions import ROOM_VERSIONS
from tests.federation.test_hostile_peers import joined
from tests.federation.test_read_access import Asker
from tests.federation.test_rooms import join
from tests.kit.archives import job, objects
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.peer import running_peer
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

pytestmark = pytest.mark.slow

EMPTY = "SELECT count(*) FROM events WHERE json = ''"
VERSION = ROOM_VERSIONS["12"]


class Two:
    """A server whose bodies leave the database, started again and again; and another that asks it."""

    def __init__(self, dsn: str, authority: Authority, folder: Path) -> None:
        self.folder = folder
        self._dsn = dsn
        self.authority = authority
        self._port = free_port()

    @asynccontextmanager
    async def here(self) -> AsyncIterator[RunningServer]:
        toml = f'[archive]\nbodies_after_days = 0\nstore_path = "{self.folder}/archive"\n'
        async with federated_server(self._dsn, self.authority, port=self._port, toml=toml) as server:
            yield server


@pytest.fixture
def two(database_dsn: str, tmp_path: Path) -> Two:
    return Two(database_dsn, Authority(tmp_path), tmp_path)


@pytest.fixture
async def there(postgres: PostgresForTests, two: Two) -> AsyncIterator[RunningServer]:
    async with postgres.fresh() as dsn, federated_server(dsn, two.authority) as server:
        yield server


async def _talk(two: Two, there: RunningServer, count: int = 6) -> tuple[str, list[str]]:
    """A room of two servers in which Alice says "harbour 0" and so on: all but the last are in the archive alone."""
    async with two.here() as here:
        alice, eve = await here.user("alice"), await there.user("eve")
        room = await alice.create_room(preset="public_chat")
        await join(eve, room, here)
        ids = [await alice.send(room, f"harbour {number}") for number in range(count)]
        assert (await job(here, "run"))["messages"] == count
        assert await here.db.fetchval(EMPTY) == count - 1
        await until(lambda: _has(eve, room, f"harbour {count - 1}"))
    return room, ids


async def _has(client: Client, room: str, text: str) -> bool:
    return text in await _read(client, room)


async def _read(client: Client, room: str) -> list[str]:
    page = (await client.get("/rooms/{}/messages", room, dir="b", limit="100")).ok()
    return [one["content"].get("body", "") for one in page["chunk"][::-1] if one["type"] == "m.room.message"]


def _texts(pdus: list[dict[str, Any]]) -> list[str]:
    """What these say; each is the event that its id says, with the content that it was signed with."""
    for pdu in pdus:
        assert is_content_intact(VERSION, pdu)
    return [pdu["content"]["body"] for pdu in pdus if pdu["type"] == "m.room.message"]


async def test_servers_get_them_as_before(two: Two, there: RunningServer) -> None:
    """T-D1: by every question that gives events, with ids, hashes and signatures that hold."""
    room, ids = await _talk(two, there)
    texts = [f"harbour {number}" for number in range(6)]
    async with two.here() as here:
        ask = Asker(here, there)
        (pdu,) = (await ask.get("/event/{}", ids[1]))["pdus"]
        assert event_id_of(VERSION, pdu) == ids[1] and _texts([pdu]) == ["harbour 1"]
        assert _texts((await ask.get("/backfill/{}", room, v=ids[3], limit="50"))["pdus"]) == texts[3::-1]
        assert _texts((await ask.missing(room, [ids[5]]))["events"]) == texts[:5]
        for event_id in ids:
            state = await ask.get("/state/{}", room, event_id=event_id)
            names = await ask.get("/state_ids/{}", room, event_id=event_id)
            assert {event_id_of(VERSION, pdu) for pdu in state["pdus"]} == set(names["pdu_ids"])
            assert len(names["pdu_ids"]) >= 6 and names["auth_chain_ids"]
            assert (await ask.get("/event_auth/{}/{}", room, event_id))["auth_chain"]
        found = await ask.get("/timestamp_to_event/{}", room, ts="0", dir="f")
        assert found["event_id"]
        assert await here.db.fetchval(EMPTY) == 5


async def test_a_newcomers_server_fills_its_past(two: Two, there: RunningServer, postgres: PostgresForTests) -> None:
    """What it was never told it asks for, checks and shows."""
    room, _ = await _talk(two, there)
    async with postgres.fresh() as dsn, two.here() as here, federated_server(dsn, two.authority) as third:
        bob = await third.user("bob")
        await join(bob, room, here)
        await until(lambda: _has(bob, room, "harbour 0"))
        assert await _read(bob, room) == [f"harbour {number}" for number in range(6)]


async def _status(question: Any) -> int:
    try:
        await question
    except FederationError as refused:
        return refused.status
    return 200


@pytest.mark.parametrize("harm", ["flipped", "missing"])
async def test_what_cant_be_read_is_no_fault(two: Two, there: RunningServer, harm: str) -> None:
    """T-O7: other servers get the rest, or hear that it isn't here; never something else, never a fault."""
    room, ids = await _talk(two, there)
    (path,) = objects(two.folder, ".parquet")
    if harm == "flipped":
        path.write_bytes(bytes(one ^ 0xFF for one in path.read_bytes()))
    else:
        path.unlink()
    async with two.here() as here:
        ask = Asker(here, there)
        for name, question in ask.questions(room, ids[1]).items():
            assert await _status(question()) in (200, 404), name
        assert await _status(ask.get("/event/{}", ids[1])) == 404
        assert _texts((await ask.get("/backfill/{}", room, v=ids[5], limit="50"))["pdus"])[:1] == ["harbour 5"]
        assert await _status(ask.get("/state/{}", room, event_id=ids[5])) == 200


async def test_many_that_cant_be_read(two: Two, there: RunningServer) -> None:
    """T-O7: pages go on behind them, to the room's beginning."""
    room, ids = await _talk(two, there, 45)
    for path in objects(two.folder, ".parquet"):
        path.unlink()
    async with two.here() as here:
        alice = await here.login("alice")
        assert await _read(alice, room) == ["harbour 44"]
        page = (await alice.get("/rooms/{}/messages", room, dir="b", limit="10")).ok()
        kinds = [one["type"] for one in page["chunk"]]
        while "end" in page:
            page = (await alice.get("/rooms/{}/messages", room, dir="b", limit="10", **{"from": page["end"]})).ok()
            kinds += [one["type"] for one in page["chunk"]]
        assert kinds[-1] == "m.room.create" and kinds.count("m.room.message") == 1
        (await alice.get("/rooms/{}/event/{}", room, ids[3])).refused(404, "M_NOT_FOUND")
        answer = await alice.request("GET", "/_matrix/client/v1/rooms/" + room + "/timestamp_to_event?ts=0&dir=f")
        assert answer.status in (200, 404)
        (await alice.post("/rooms/{}/receipt/m.read/{}", room, ids[3])).refused(404, "M_NOT_FOUND")


async def test_they_are_redacted_all_the_same(two: Two, there: RunningServer) -> None:
    """T-G23: a redaction of what can't be read just now holds when it can be again, whoever redacts."""
    async with two.here() as here:
        alice, eve = await here.user("alice"), await there.user("eve")
        room = await alice.create_room(preset="public_chat")
        await join(eve, room, here)
        own, other = await alice.send(room, "canarybird"), await eve.send(room, "canarybird")
        await until(lambda: _has_two(alice, room))
        await alice.send(room, "harbour")
        await job(here, "run")
        assert await here.db.fetchval(EMPTY) == 2
    (path,) = objects(two.folder, ".parquet")
    path.rename(two.folder / "away")
    async with two.here() as here:
        alice = await here.login("alice")
        assert await _read(alice, room) == ["harbour"]
        (await alice.put("/rooms/{}/redact/{}/t1", room, own)).ok()
        (await eve.put("/rooms/{}/redact/{}/t1", room, other)).ok()
        redacted = "SELECT count(*) FROM events WHERE event_id = ANY($1) AND redacted_by IS NOT NULL"

        async def are_redacted() -> bool:
            return bool(await here.db.fetchval(redacted, [own, other]) == 2)

        await until(are_redacted)
    (two.folder / "away").rename(path)
    async with two.here() as here:
        alice = await here.login("alice")
        await job(here, "verify")
        assert await _read(alice, room) == ["", "", "harbour"]
        assert (await alice.get("/rooms/{}/event/{}", room, other)).ok()["content"] == {}


async def _has_two(client: Client, room: str) -> bool:
    return (await _read(client, room)).count("canarybird") == 2


async def test_who_tells_them_again_gives_them_back(two: Two, there: RunningServer) -> None:
    """T-O7: a lost event that another server sends once more is whole again; one with another content is not taken."""
    room, ids = await _talk(two, there)
    for path in objects(two.folder, ".parquet"):
        path.unlink()
    raw = await there.db.fetchval("SELECT json FROM events WHERE event_id = $1", ids[1])
    pdu = canonical_json.decode(raw)
    async with two.here() as here:
        alice = await here.login("alice")
        for content in ({**pdu["content"], "body": "never said"}, pdu["content"]):
            (await alice.get("/rooms/{}/event/{}", room, ids[1])).refused(404, "M_NOT_FOUND")
            await _tell(there, here, {**pdu, "content": content})
        await until(lambda: _has(alice, room, "harbour 1"))
        assert await _read(alice, room) == ["harbour 1", "harbour 5"]
        assert await here.db.fetchval("SELECT count(*) FROM staged_pdus") == 0


async def _tell(there: RunningServer, here: RunningServer, pdu: dict[str, Any]) -> None:
    """One event in a transaction, as if it were new."""
    assert there.hansa.federation is not None
    body = {"origin": there.hansa.config.server_name, "origin_server_ts": 1, "pdus": [pdu], "edus": []}
    path = path_of("/_matrix/federation/v1/send/{}", f"again-{len(str(pdu))}")
    await there.hansa.federation.client.put(here.hansa.signer.server_name, path, body)

    async def is_taken() -> bool:
        return bool(await here.db.fetchval("SELECT count(*) FROM staged_pdus") == 0)

    await until(is_taken)


async def test_the_room_goes_on_from_them(two: Two, there: RunningServer) -> None:
    """T-O7: a branch from an event that can't be read comes in as any other."""
    async with AsyncExitStack() as stack:
        peer = await stack.enter_async_context(running_peer(two.authority))
        async with two.here() as here:
            alice, room = await joined(here, peer)
            name = here.hansa.config.server_name
            old = room.text("old")
            await room.send(name, old)
            new = room.text("new")
            await room.send(name, new)
            await until(lambda: _has(alice, room.room_id, "new"))
            await job(here, "run")
            assert await here.db.fetchval(EMPTY) == 1
        for path in objects(two.folder, ".parquet"):
            path.unlink()
        async with two.here() as here:
            alice = await here.login("alice")
            branch = room.make("m.room.message", {"msgtype": "m.text", "body": "branch"}, prev=[old.event_id])
            await room.send(name, branch)
            await until(lambda: _has(alice, room.room_id, "branch"))
