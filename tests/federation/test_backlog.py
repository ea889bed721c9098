"""What waits for its room is bounded for each room and each server, and whoever sends too much is told so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest

from federation import backlog, budgets
from federation.intake import RoomIntake
from federation.peers import Peers
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName
from tests.federation.test_floods import made_up
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.ports import free_port
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

FEW = 6


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def pastless(room: PeerRoom, count: int, seed: int) -> list[Event]:
    """Messages upon events that nobody has."""
    return [
        room.make("m.room.message", {"msgtype": "m.text", "body": "pastless"}, prev=made_up(2, seed * 1_000 + number))
        for number in range(count)
    ]


async def staged(here: RunningServer) -> list[str]:
    return [row["event_id"] for row in await here.db.fetch("SELECT event_id FROM staged_pdus ORDER BY staged_nid")]


async def put_off(here: RunningServer) -> int:
    count: int = await here.db.fetchval("SELECT count(*) FROM staged_pdus WHERE tries > 0")
    return count


async def heard(alice: Client, room: PeerRoom, text: str) -> None:
    async def is_there() -> bool:
        return text in await texts(alice, room.room_id)

    await until(is_there, within_s=60)


def taken(answer: dict[str, Any]) -> set[str]:
    return {event_id for event_id, said in answer.items() if "error" not in said}


@pytest.mark.slow
async def test_events_without_a_past_are_bounded(
    database_dsn: str, authority: Authority, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E7, T-E13: of one server so many wait, what was acknowledged is kept, and what has a past comes in as ever;
    a restart forgets nothing of it."""
    monkeypatch.setattr(backlog, "OF_SERVER_IN_ROOM", replace(backlog.OF_SERVER_IN_ROOM, later=FEW))
    monkeypatch.setattr(backlog, "COUNTED_ANEW_EVERY_S", 0.0)
    port = free_port()
    async with federated_server(database_dsn, authority, port=port) as here:
        alice, room = await joined(here, peer)
        first = pastless(room, FEW, 1)
        acknowledged = taken(await room.send(name_of(here), *first))
        assert len(acknowledged) == FEW

        async def all_put_off() -> bool:
            return await put_off(here) == FEW

        await until(all_put_off, within_s=60)
    async with federated_server(database_dsn, authority, port=port) as here:
        again = here.anonymous()
        again.token, again.user_id, again.device_id = alice.token, alice.user_id, alice.device_id
        more = pastless(room, 5, 2)
        refused = await room.send(name_of(here), *more)
        assert set(refused) == {event.event_id for event in more} and taken(refused) == set()
        assert all("past" in said["error"] for said in refused.values())
        # Known events, and new ones that an event of the same transaction leads to: nothing is missing.
        assert taken(await room.send(name_of(here), room.text("one"), room.text("two"))) == set(room.heads) | {
            room.events[room.heads[0]].prev_event_ids[0]
        }
        await heard(again, room, "two")
        unauthorised = room.make("m.room.message", {"msgtype": "m.text", "body": "x"}, auth=made_up(3, 9))
        assert taken(await room.send(name_of(here), unauthorised)) == set()
        assert set(await staged(here)) == acknowledged
        # What waits already isn't refused: that it was acknowledged holds.
        assert taken(await room.send(name_of(here), first[0])) == {first[0].event_id}
        assert await texts(again, room.room_id) == ["one", "two"]


@pytest.mark.slow
async def test_a_room_is_not_one_servers_alone(
    here: RunningServer, authority: Authority, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E13: one server's flood into a room is refused, while another's events come in."""
    monkeypatch.setattr(backlog, "OF_SERVER_IN_ROOM", replace(backlog.OF_SERVER_IN_ROOM, later=FEW))
    alice, room = await joined(here, peer)
    async with running_peer(authority) as other:
        bob = f"@bob:{other.name}"
        elsewhere = PeerRoom(other)
        elsewhere.room_id, elsewhere.state, elsewhere.events = room.room_id, dict(room.state), dict(room.events)
        elsewhere.heads, elsewhere.depth = list(room.heads), room.depth
        await elsewhere.send(name_of(here), elsewhere.add("m.room.member", {"membership": "join"}, bob, sender=bob))
        answers = [await room.send(name_of(here), *pastless(room, 4, seed)) for seed in range(2)]

        async def all_put_off() -> bool:
            return await put_off(here) == 8

        await until(all_put_off, within_s=60)
        assert [len(taken(answer)) for answer in answers] == [4, 4]
        assert taken(await room.send(name_of(here), *pastless(room, 4, 5))) == set()
        said = elsewhere.make("m.room.message", {"msgtype": "m.text", "body": "from another"}, sender=bob)
        lost = elsewhere.make("m.room.message", {"body": "x"}, sender=bob, prev=made_up(1, 77))
        assert taken(await elsewhere.send(name_of(here), said, lost)) == {said.event_id, lost.event_id}
        await heard(alice, room, "from another")


@pytest.mark.slow
@pytest.mark.parametrize("question", ["missing_events", "state_ids", "event_auth"])
async def test_who_keeps_a_room_waiting_does_so_for_a_while_only(
    here: RunningServer, authority: Authority, peer: Peer, monkeypatch: pytest.MonkeyPatch, question: str
) -> None:
    """T-E7, T-E11: a server that sends events without a past, and never answers what is asked about them, though it
    shows with each transaction that it is up, holds up what others say in the room no longer than its time there."""
    monkeypatch.setattr(budgets, "WAITING_S_MAX", 1.0)
    monkeypatch.setattr(budgets, "WAITING_SHARE", 0.0)
    hung: list[str] = []
    asked = getattr(Peers, question)

    async def hanging(self: Peers, server: ServerName, *about: Any, **more: Any) -> Any:
        if server != peer.name:
            return await asked(self, server, *about, **more)
        hung.append(server)
        return await asyncio.Event().wait()

    monkeypatch.setattr(Peers, question, hanging)
    alice, room = await joined(here, peer)
    async with running_peer(authority) as other:
        bob = f"@bob:{other.name}"
        elsewhere = PeerRoom(other)
        elsewhere.room_id, elsewhere.state, elsewhere.events = room.room_id, dict(room.state), dict(room.events)
        elsewhere.heads, elsewhere.depth = list(room.heads), room.depth
        await elsewhere.send(name_of(here), elsewhere.add("m.room.member", {"membership": "join"}, bob, sender=bob))
        lost = pastless(room, 3, 1)
        if question == "event_auth":
            made = {"msgtype": "m.text", "body": "x"}
            lost = [room.make("m.room.message", made, auth=made_up(3, number)) for number in range(3)]
        for event in lost:
            await room.send(name_of(here), event)

        async def is_asked() -> bool:
            return bool(hung)

        await until(is_asked, within_s=60)
        said = elsewhere.make("m.room.message", {"msgtype": "m.text", "body": "from another"}, sender=bob)
        await elsewhere.send(name_of(here), said)
        await heard(alice, room, "from another")


@pytest.mark.slow
async def test_a_server_with_too_much_waits_with_all_it_has(
    here: RunningServer, authority: Authority, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E13, T-E11: its transactions come again later, whole; EDUs alone still come in, and others' events too."""
    monkeypatch.setattr(backlog, "OF_SERVER", replace(backlog.OF_SERVER, soon=FEW))
    monkeypatch.setattr(backlog, "COUNTED_ANEW_EVERY_S", 0.0)
    alice, room = await joined(here, peer)
    asleep: list[RoomIntake] = []
    monkeypatch.setattr(RoomIntake, "_wake", lambda intake, room_id: asleep.append(intake))
    first = await room.send(name_of(here), *[room.text(f"{number}") for number in range(FEW)])
    assert len(taken(first)) == FEW
    late = room.text("late")
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [late.pdu], "edus": []}
    answer = await peer.ask("PUT", name_of(here), V1 + "/send/late", body)
    assert answer.status == 429 and b"retry_after_ms" in answer.body
    typing = {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": room.eve, "typing": True}}
    assert await room.send(name_of(here), edus=[typing]) == {}
    monkeypatch.undo()
    asleep[0]._wake(RoomId(room.room_id))
    await heard(alice, room, f"{FEW - 1}")
    again = await peer.ask_json("PUT", name_of(here), V1 + "/send/late", body)
    assert again["pdus"] == {late.event_id: {}}
    await heard(alice, room, "late")
    assert await texts(alice, room.room_id) == [*(f"{number}" for number in range(FEW)), "late"]


@pytest.mark.slow
async def test_what_is_counted_is_what_is_stored(
    here: RunningServer, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E12: events sent twice, taken in or put off leave nothing in the counts that somebody is refused for."""
    monkeypatch.setattr(backlog, "OF_SERVER", replace(backlog.OF_SERVER, soon=FEW, later=2))
    monkeypatch.setattr(backlog, "COUNTED_ANEW_EVERY_S", 0.0)
    alice, room = await joined(here, peer)
    one = pastless(room, 1, 1)[0]
    for number in range(3 * FEW):
        said = room.text(f"{number}")
        assert taken(await room.send(name_of(here), one, said, said)) == {one.event_id, said.event_id}
        await heard(alice, room, f"{number}")
    assert await staged(here) == [one.event_id]
