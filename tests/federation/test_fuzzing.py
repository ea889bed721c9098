"""Mutated events, EDUs, queries and answers of other servers: an answer of the spec, never a 500, and life goes on."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.request_signing import authorization_header
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.mutations import junk_header, junk_question, junk_transaction, mutated
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.server import RunningServer
from tests.kit.until import until


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


@pytest.mark.slow
async def test_any_transaction_is_answered(here: RunningServer, peer: Peer) -> None:
    """T-B4, T-B1, T-E23: events signed over junk, junk signed over nothing, EDUs of any form."""
    alice, room = await joined(here, peer)
    chance = random.Random(5)
    for number in range(120):
        body = junk_transaction(room, alice.user_id, chance, number)
        try:
            answer = await peer.ask("PUT", name_of(here), f"{V1}/send/fuzz{number}", body)
        except Exception as error:  # numbers and texts that no canonical JSON has can't be signed
            assert "JSON" in str(error) or "surrogate" in str(error) or "number" in str(error), error
            continue
        assert answer.status in (200, 400), (answer.status, answer.body, body)
    (await alice.sync())["rooms"]["join"][room.room_id]
    last = room.text("after all this", prev=list(room.heads))
    await room.send(name_of(here), last)

    async def heard() -> bool:
        return "after all this" in await texts(alice, room.room_id)

    await until(heard, within_s=30)


@pytest.mark.slow
async def test_any_answer_is_survived(here: RunningServer, peer: Peer) -> None:
    """T-A3, T-B7, T-E8: joins, invites, directories and profiles of servers that answer anything."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    chance = random.Random(7)
    room.answer_joins(alice.user_id)
    right = dict(peer.answers)

    def lying(path: str) -> Any:
        return lambda sent: mutated(right[path](sent), chance)

    def wrong(good: Any) -> Any:
        return lambda sent: mutated(good, chance)

    for number in range(60):
        peer.answers.update({path: lying(path) if chance.random() < 0.7 else right[path] for path in right})
        answer = await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)
        assert answer.status in (200, 400, 403, 404, 502), (number, answer.status, answer.body)
        if answer.status == 200:
            (await alice.sync())["next_batch"]
            (await alice.get("/rooms/{}/messages", room.room_id, dir="b")).ok()
            (await alice.post("/rooms/{}/leave", room.room_id)).ok()
    answers = {
        V1 + "/query/profile": {"displayname": "Eve", "avatar_url": "mxc://a/b"},
        V1 + "/query/directory": {"room_id": room.room_id, "servers": [peer.name]},
        V1 + "/publicRooms": {"chunk": [{"room_id": room.room_id, "num_joined_members": 1}], "next_batch": "x"},
        V1 + "/user": {"device_keys": {room.eve: {"D": {}}}, "devices": [], "stream_id": 1, "user_id": room.eve},
    }
    for _ in range(40):
        peer.answers = {path: wrong(good) for path, good in answers.items()}
        found = [
            await alice.get("/profile/{}", room.eve),
            await alice.get("/directory/room/{}", f"#x:{peer.name}"),
            await alice.request("POST", "/publicRooms", body={}, query={"server": peer.name}),
            await alice.post("/keys/query", body={"device_keys": {room.eve: []}}),
        ]
        assert all(answer.status in (200, 400, 403, 404, 502) for answer in found), [one.status for one in found]


@pytest.mark.slow
async def test_any_header_is_answered(here: RunningServer, peer: Peer) -> None:
    """T-A15, T-O1: what a request says of its signature, mutated; and keys that are something else."""
    right = authorization_header(peer.signer, name_of(here), "GET", V1 + "/query/profile?user_id=@x:y", None)
    chance = random.Random(11)
    for _ in range(150):
        header = junk_header(right, chance)
        answer = await here.anonymous().request(
            "GET", V1 + "/query/profile?user_id=@x:y", headers={"Authorization": header}
        )
        assert answer.status in (400, 401, 403, 404), (answer.status, header)
    document = dict(peer.keys)
    for number in range(60):
        peer.keys = mutated(document, chance)
        assert here.hansa.federation is not None
        found = await here.hansa.federation.keys.documents({peer.name: number})
        assert all(one["server_name"] == peer.name for one in found)
        assert (await here.anonymous().get("/_matrix/key/v2/query/{}", peer.name)).status == 200


@pytest.mark.slow
async def test_any_question_is_answered(here: RunningServer, peer: Peer) -> None:
    """T-E6, T-O1: each endpoint for servers, asked with junk in its path, query and body."""
    _, room = await joined(here, peer)
    chance = random.Random(9)
    for _ in range(250):
        method, target, body = junk_question(room, chance)
        try:
            answer = await peer.ask(method, name_of(here), target, body)
        except Exception as error:
            assert "JSON" in str(error) or "surrogate" in str(error) or "number" in str(error), error
            continue
        assert answer.status < 500, (method, target, answer.status, answer.body, body)
