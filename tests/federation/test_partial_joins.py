"""Rooms that our users come into before all of their members are known: what works meanwhile, what waits, what is
found out afterwards."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from federation.client import FederationError, path_of
from federation.resync import ROOMS_AT_ONCE
from homeserver.core.identifiers import RoomId, ServerName
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.web.outgoing import Outgoing, OutgoingAnswer, OutgoingError
from tests.federation.test_rooms import bodies, members, name_of
from tests.kit.authority import Authority
from tests.kit.counting import CountingDatabase
from tests.kit.dag import make_event
from tests.kit.federation import federated_server
from tests.kit.network import Network
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.sliding import SlidingClient, window
from tests.kit.until import a_moment, until

V1 = "/_matrix/federation/v1"
LAZY = json.dumps({"room": {"state": {"lazy_load_members": True}, "timeline": {"lazy_load_members": True}}})


class Held(Network):
    """A network on which questions for the state of a room wait until `go` is set; those to `deaf` servers fail, and
    `ignorant` ones know of none.
    Who lets us in doesn't tell that `untold` servers are in the room; `mute` ones get no transactions."""

    def __init__(self) -> None:
        super().__init__(0)
        self.go = asyncio.Event()
        self.deaf: set[str] = set()
        self.untold: set[str] = set()
        self.mute: set[str] = set()
        self.ignorant: set[str] = set()
        self.asked: list[str] = []

    def side_of(self, name: str, way_out: Outgoing) -> Outgoing:
        side = super().side_of(name, way_out)
        passing = side.request

        async def request(method: str, url: str, **given: Any) -> Any:
            if "/state_ids/" in url or "/v1/state/" in url:
                self.asked.append(url.split("/")[2])
                await self.go.wait()
                if url.split("/")[2] in self.ignorant:
                    return OutgoingAnswer(404, {}, b'{"errcode": "M_NOT_FOUND", "error": "not here"}', url)
                if url.split("/")[2] in self.deaf:
                    raise OutgoingError("unreachable", "the test wants it so")
            if "/v1/send/" in url and url.split("/")[2] in self.mute:
                raise OutgoingError("unreachable", "the test wants it so")
            answer = await passing(method, url, **given)
            if "/send_join/" in url and self.untold:
                told = json.loads(answer.body)
                told["servers_in_room"] = [name for name in told["servers_in_room"] if name not in self.untold]
                return replace(answer, body=json.dumps(told).encode())
            return answer

        side.request = request  # type: ignore[method-assign]
        return side


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
async def there(postgres: PostgresForTests, authority: Authority, held: Held) -> AsyncIterator[RunningServer]:
    async with postgres.fresh() as dsn, federated_server(dsn, authority, network=held) as server:
        yield server
        held.go.set()


async def a_room(here: RunningServer, **body: Any) -> tuple[Client, str]:
    alice = await here.user("alice")
    room_id = await alice.create_room(preset="public_chat", name="Town", **body)
    for name in ("bob", "carol"):
        await (await here.user(name)).join(room_id)
    return alice, room_id


async def join(user: Client, room_id: str, through: RunningServer) -> None:
    """In the room, whatever is known of it."""
    (await user.post(f"/join/{{}}?server_name={name_of(through)}", room_id)).ok()


async def joined(user: Client, **query: Any) -> dict[str, Any]:
    rooms: dict[str, Any] = (await user.sync(**query)).get("rooms", {}).get("join", {})
    return rooms


async def says(user: Client, room_id: str, text: str) -> bool:
    return text in await bodies(user, room_id)


async def whole_state(user: Client, room_id: str) -> set[str]:
    return {event["event_id"] for event in (await user.get("/rooms/{}/state", room_id)).ok()}


async def test_a_room_is_used_before_its_members_are_known(
    here: RunningServer, there: RunningServer, held: Held
) -> None:
    alice, room_id = await a_room(here)
    await alice.send(room_id, "before")
    eve = await there.user("eve")
    since = (await eve.sync())["next_batch"]
    await join(eve, room_id, here)
    await eve.send(room_id, "I can speak")
    await until(lambda: says(alice, room_id, "I can speak"))
    await alice.send(room_id, "and hear")
    await until(lambda: says(eve, room_id, "and hear"))
    assert await bodies(eve, room_id) == ["before", "I can speak", "and hear"]
    # Who loads members lazily is told of the room, with the member events of those who speak; others wait.
    told = (await joined(eve, since=since, filter=LAZY))[room_id]
    assert alice.user_id in {e["state_key"] for e in told["state"]["events"] if e["type"] == "m.room.member"}
    assert await joined(eve) == {} and await joined(eve, since=since) == {}
    waiting = [asyncio.create_task(members(eve, room_id)), asyncio.create_task(whole_state(eve, room_id))]
    woken = asyncio.create_task(eve.sync(since=(await eve.sync())["next_batch"], timeout=120_000))

    async def is_asked() -> bool:
        return bool(held.asked)

    await until(is_asked)
    await a_moment()
    assert not any(task.done() for task in (*waiting, woken))
    held.go.set()
    others = {alice.user_id.replace("alice", name) for name in ("alice", "bob", "carol")}
    assert await waiting[0] == {eve.user_id, *others}
    assert await waiting[1] == await whole_state(alice, room_id)
    shown = (await woken)["rooms"]["join"][room_id]
    assert {e["state_key"] for e in shown["state"]["events"] if e["type"] == "m.room.member"} >= others
    assert (await joined(eve))[room_id]["summary"]["m.joined_member_count"] == 4


async def test_nobody_comes_in_through_who_does_not_know_the_room(
    here: RunningServer, there: RunningServer, held: Held
) -> None:
    """T-D16: no template, no state is given away that isn't whole."""
    alice, room_id = await a_room(here)
    eve = await there.user("eve")
    await join(eve, room_id, here)
    assert here.hansa.federation is not None
    client, server = here.hansa.federation.client, there.hansa.signer.server_name
    for verb in ("join", "knock"):
        path = path_of(V1 + "/make_" + verb + "/{}/{}", room_id, alice.user_id)
        with pytest.raises(FederationError) as refused:
            await client.get(server, path, query={"ver": "12"})
        assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")
    event_id = await eve.send(room_id, "a word")
    with pytest.raises(FederationError) as refused:
        await client.get(server, path_of(V1 + "/state_ids/{}", room_id), query={"event_id": event_id})
    assert refused.value.status == 403
    held.go.set()
    await members(eve, room_id)
    ids = await client.get(server, path_of(V1 + "/state_ids/{}", room_id), query={"event_id": event_id})
    assert set(ids["pdu_ids"]) == await whole_state(alice, room_id)


async def test_others_come_and_go_meanwhile(here: RunningServer, there: RunningServer, held: Held) -> None:
    alice, room_id = await a_room(here)
    eve, frank = await there.user("eve"), await there.user("frank")
    await join(eve, room_id, here)
    await join(frank, room_id, here)
    (await eve.post("/rooms/{}/leave", room_id)).ok()
    await join(eve, room_id, here)
    (await frank.post("/rooms/{}/leave", room_id)).ok()
    await eve.send(room_id, "still here")
    await until(lambda: says(alice, room_id, "still here"))
    held.go.set()
    now = await members(eve, room_id)
    assert eve.user_id in now and frank.user_id not in now and alice.user_id in now
    assert await whole_state(eve, room_id) == await whole_state(alice, room_id)


async def test_who_is_banned_stays_out(here: RunningServer, there: RunningServer, held: Held) -> None:
    """T-D16: a ban that isn't known here yet holds, as the room's servers are asked."""
    alice, room_id = await a_room(here)
    eve, frank = await there.user("eve"), await there.user("frank")
    (await alice.post("/rooms/{}/ban", room_id, body={"user_id": frank.user_id})).ok()
    await join(eve, room_id, here)
    refused = await frank.post(f"/join/{{}}?server_name={name_of(here)}", room_id)
    refused.refused(403, "M_FORBIDDEN")


async def test_what_was_wrongly_accepted_goes(here: RunningServer, there: RunningServer, held: Held) -> None:
    """T-C18: who had left, as is known in the end, has said nothing; what stands on it stays."""
    _, room_id = await a_room(here)
    mallory = await here.user("mallory")
    await mallory.join(room_id)
    old = await here.hansa.rooms.rooms.state_event(RoomId(room_id), "m.room.member", mallory.user_id)
    (await mallory.post("/rooms/{}/leave", room_id)).ok()
    eve = await there.user("eve")
    await join(eve, room_id, here)
    rooms = there.hansa.rooms
    room = await rooms.rooms.get(RoomId(room_id))
    assert room is not None and room.partial is not None and old is not None
    await rooms.incoming.keep(room.room_id, [old])
    levels = room.known_state("m.room.power_levels")
    assert levels is not None
    false = make_event(
        room.version,
        type="m.room.message",
        sender=mallory.user_id,
        content={"msgtype": "m.text", "body": "I never left"},
        state_key=None,
        room_id=room_id,
        prev=[head.event_id for head in room.head.heads],
        auth=[levels.event_id, old.event_id],
        depth=room.head.depth + 1,
        ts=1,
    )
    assert await rooms.incoming.take(room.room_id, [Arrival(event=false)]) == [Fate.ACCEPTED]
    await eve.send(room_id, "on top of it")
    assert await says(eve, room_id, "I never left")
    since = (await eve.sync(filter=LAZY))["next_batch"]
    held.go.set()
    await members(eve, room_id)
    assert not await says(eve, room_id, "I never left") and await says(eve, room_id, "on top of it")
    (await eve.get("/rooms/{}/event/{}", room_id, false.event_id)).refused(404, "M_NOT_FOUND")
    assert mallory.user_id not in json.dumps(await eve.sync(since=since, filter=LAZY))
    await eve.send(room_id, "further")
    assert (await rooms.rooms.get(RoomId(room_id))) is not None


@pytest.mark.slow
async def test_it_goes_on_after_a_restart(
    here: RunningServer, postgres: PostgresForTests, authority: Authority
) -> None:
    alice, room_id = await a_room(here)
    port, first, second = free_port(), Held(), Held()
    async with postgres.fresh() as dsn:
        async with federated_server(dsn, authority, port=port, network=first) as there:
            eve = await there.user("eve")
            await join(eve, room_id, here)
            await eve.send(room_id, "before the restart")
        async with federated_server(dsn, authority, port=port, network=second) as there:
            eve = await there.login("eve")
            assert await joined(eve) == {} and set(await joined(eve, filter=LAZY)) == {room_id}
            await eve.send(room_id, "after it")
            second.go.set()
            assert len(await members(eve, room_id)) == 4
            assert set(await joined(eve)) == {room_id}
            assert await whole_state(eve, room_id) == await whole_state(alice, room_id)
            assert await bodies(eve, room_id) == ["before the restart", "after it"]


@pytest.mark.slow
async def test_many_rooms_are_made_whole_some_at_a_time(
    here: RunningServer, postgres: PostgresForTests, authority: Authority
) -> None:
    """T-E21: after a restart as well; the rooms are usable meanwhile."""
    alice, bob = await here.user("alice"), await here.user("bob")
    rooms = [await alice.create_room(preset="public_chat", name="Town") for _ in range(ROOMS_AT_ONCE + 3)]
    for room_id in rooms:
        await bob.join(room_id)
    port, first, second = free_port(), Held(), Held()
    async with postgres.fresh() as dsn:
        async with federated_server(dsn, authority, port=port, network=first) as there:
            eve = await there.user("eve")
            for room_id in rooms:
                await join(eve, room_id, here)
            assert len(first.asked) <= ROOMS_AT_ONCE
        async with federated_server(dsn, authority, port=port, network=second) as there:
            eve = await there.login("eve")

            async def are_asked() -> bool:
                return len(second.asked) >= ROOMS_AT_ONCE

            await until(are_asked, within_s=60)
            for room_id in rooms:
                await eve.send(room_id, "usable")
            await a_moment()
            assert len(second.asked) == ROOMS_AT_ONCE
            second.go.set()

            async def are_whole() -> bool:
                return set(await joined(eve)) == set(rooms)

            await until(are_whole, within_s=60)


async def test_what_is_read_back_first_tells_no_members(here: RunningServer, there: RunningServer, held: Held) -> None:
    """T-D16: the event before our join, once it is here, still stands on the state without the members."""
    alice, room_id = await a_room(here)
    await alice.send(room_id, "before")
    held.ignorant.add(name_of(here))
    held.go.set()
    eve = await there.user("eve")
    await join(eve, room_id, here)
    assert await bodies(eve, room_id) == ["before"]
    held.ignorant.clear()
    assert len(await members(eve, room_id)) == 4
    assert await whole_state(eve, room_id) == await whole_state(alice, room_id)


@pytest.mark.slow
async def test_another_server_is_asked_where_the_first_fails(
    here: RunningServer, there: RunningServer, held: Held, postgres: PostgresForTests, authority: Authority
) -> None:
    """No one server can keep the room from being whole."""
    async with postgres.fresh() as dsn, federated_server(dsn, authority) as third:
        alice, room_id = await a_room(here)
        dan = await third.user("dan")
        await join(dan, room_id, here)
        await members(dan, room_id)
        eve = await there.user("eve")
        await join(eve, room_id, here)
        held.deaf.add(name_of(here))
        held.go.set()
        assert len(await members(eve, room_id)) == 5
        assert held.asked[0] == name_of(here) and name_of(third) in held.asked
        assert ServerName(name_of(third)) in await there.hansa.outbound.sender.servers_in(RoomId(room_id))  # type: ignore[union-attr]
        assert await whole_state(eve, room_id) == await whole_state(alice, room_id)


@pytest.mark.slow
async def test_who_turns_out_to_be_in_the_room_gets_what_was_said(
    here: RunningServer, there: RunningServer, held: Held, postgres: PostgresForTests, authority: Authority
) -> None:
    """A server that nobody had told us of has missed our events; it gets them once the members are known."""
    async with postgres.fresh() as dsn, federated_server(dsn, authority) as third:
        _, room_id = await a_room(here)
        dan = await third.user("dan")
        await join(dan, room_id, here)
        held.untold = {name_of(third)}
        eve = await there.user("eve")
        await join(eve, room_id, here)
        for text in ("one", "two"):
            await eve.send(room_id, text)
        assert there.hansa.outbound is not None
        sender = there.hansa.outbound.sender
        assert ServerName(name_of(third)) not in await sender.servers_in(RoomId(room_id))
        assert not {"one", "two"} & set(await bodies(dan, room_id))
        held.go.set()
        await members(eve, room_id)

        async def all_heard() -> bool:
            return {"one", "two"} <= set(await bodies(dan, room_id))

        await until(all_heard, within_s=60)

        async def all_is_told() -> bool:
            return not sender.is_lagging(ServerName(name_of(third)))

        await until(all_is_told, within_s=60)


@pytest.mark.slow
async def test_who_turns_out_to_be_in_the_room_gets_it_after_a_restart(
    here: RunningServer, postgres: PostgresForTests, authority: Authority
) -> None:
    """The same where the process ended between the members' becoming known and the telling."""
    port, first, second = free_port(), Held(), Held()
    async with (
        postgres.fresh() as dsn,
        postgres.fresh() as other_dsn,
        federated_server(other_dsn, authority) as third,
    ):
        _, room_id = await a_room(here)
        dan = await third.user("dan")
        await join(dan, room_id, here)
        first.untold = {name_of(third)}
        async with federated_server(dsn, authority, port=port, network=first) as there:
            eve = await there.user("eve")
            await join(eve, room_id, here)
            await eve.send(room_id, "one")
            cursor = "SELECT position FROM journal_cursors WHERE consumer = 'federation'"
            before = await there.db.fetchval(cursor) or 0
            first.mute.add(name_of(third))
            first.go.set()
            await members(eve, room_id)
        db = await CountingDatabase.connect(dsn, size_min=1, size_max=1)
        await db.execute("UPDATE journal_cursors SET position = $1 WHERE consumer = 'federation'", before)
        await db.execute("DELETE FROM lagging_servers")
        await db.execute("DELETE FROM unreachable_servers")
        await db.close()
        async with federated_server(dsn, authority, port=port, network=second):

            async def heard() -> bool:
                return "one" in await bodies(dan, room_id)

            await until(heard, within_s=60)


async def test_sliding_sync_counts_the_members_once_they_are_known(
    here: RunningServer, there: RunningServer, held: Held
) -> None:
    alice, room_id = await a_room(here)
    await alice.send(room_id, "moin")
    eve = await there.user("eve")
    await join(eve, room_id, here)
    sliding, lists = SlidingClient(eve), {"all": window()}
    room = (await sliding.sync(lists=lists))["rooms"][room_id]
    assert room["initial"] and room["name"] == "Town" and room["joined_count"] == 1
    held.go.set()
    await members(eve, room_id)
    assert (await sliding.sync(lists=lists))["rooms"][room_id]["joined_count"] == 4


async def test_keys_that_changed_meanwhile_are_looked_at_again(
    here: RunningServer, there: RunningServer, held: Held
) -> None:
    """Whoever turns out to be in the room, and had other devices since, is told to clients."""
    alice, room_id = await a_room(here)
    eve = await there.user("eve")
    await join(eve, room_id, here)
    since = (await eve.sync(filter=LAZY))["next_batch"]
    keys = {"user_id": alice.user_id, "device_id": alice.device_id, "algorithms": [], "keys": {}, "signatures": {}}
    (await alice.post("/keys/upload", body={"device_keys": keys})).ok()

    async def heard() -> bool:
        versions = "SELECT version FROM remote_device_lists WHERE user_id = $1"
        return await there.db.fetchval(versions, alice.user_id) is not None

    await until(heard)
    later = (await eve.sync(filter=LAZY, since=since))["next_batch"]
    held.go.set()
    await members(eve, room_id)
    assert (await eve.sync(filter=LAZY, since=later))["device_lists"]["changed"] == [alice.user_id]
