"""EDUs that are meant to fill us, to keep us busy, or to fail: each with a peer that says whatever it likes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from federation.inbound.edus import BUDGETS, RECEIPT, TO_DEVICE, TYPING
from homeserver.web.rate_limits import RateLimit, RateLimiter
from tests.federation.test_claimed_keys import one_time_of
from tests.federation.test_hostile_peers import joined, name_of
from tests.kit.authority import Authority
from tests.kit.clock import FakeClock
from tests.kit.federation import federated_server
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

Json = dict[str, Any]


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def to_device(sender: str, receiver: str, message_id: str, device: str = "*") -> Json:
    content = {"sender": sender, "type": "m.test", "message_id": message_id, "messages": {receiver: {device: {}}}}
    return {"edu_type": "m.direct_to_device", "content": content}


def receipt(room: PeerRoom, event_id: str, **data: Any) -> Json:
    return {
        "edu_type": "m.receipt",
        "content": {room.room_id: {"m.read": {room.eve: {"event_ids": [event_id], "data": data}}}},
    }


def list_update(user_id: str, **more: Any) -> Json:
    return {"edu_type": "m.device_list_update", "content": {"user_id": user_id, "device_id": "D", **more}}


async def messages_of(alice: Client) -> list[Any]:
    return [event["type"] for event in (await alice.sync()).get("to_device", {}).get("events", [])]


async def count(here: RunningServer, table: str) -> int:
    return int(await here.hansa.world.db.fetchval(f"SELECT count(*) FROM {table}"))


async def test_what_cannot_be_kept_fails_nothing_else(here: RunningServer, peer: Peer) -> None:
    """T-E5, T-E23: users of others choose threads of receipts and ids of messages. One that no table takes isn't a
    reason to refuse its whole transaction: its server would send it for ever, and nothing after it."""
    alice, room = await joined(here, peer)
    known = room.heads[0]
    odd: list[str] = ["\0", "$x\0", "x" * 3_000, "ü" * 200, ""]
    edus = [receipt(room, name, ts=1) for name in odd]
    edus += [receipt(room, at, ts=1, thread_id=name) for name in odd for at in (known, "$unknown")]
    edus += [to_device(room.eve, alice.user_id, name) for name in odd]
    edus += [to_device(room.eve, alice.user_id, f"odd device {name[:4]}", name) for name in odd]
    edus += [list_update(room.eve, device_id=name, stream_id="\0", prev_id=[None]) for name in odd]
    assert await room.send(name_of(here), edus=[*edus, to_device(room.eve, alice.user_id, "good")]) == {}
    assert await messages_of(alice) == ["m.test"]


async def test_lists_of_users_whom_nobody_knows_are_not_kept(here: RunningServer, peer: Peer) -> None:
    """T-E23, T-F8: a server can make up names without end; a row is for users who share a room with ours."""
    _, room = await joined(here, peer)
    before = await count(here, "device_list_changes")
    made_up = [list_update(f"@nobody{number}:{peer.name}") for number in range(90)]
    await room.send(name_of(here), edus=made_up)
    assert await count(here, "remote_device_lists") == 0
    assert await count(here, "device_list_changes") == before
    await room.send(name_of(here), edus=[*made_up, list_update(room.eve)])
    assert await count(here, "remote_device_lists") == 1
    assert await count(here, "device_list_changes") == before + 1


async def test_a_list_that_changes_often_is_told_once(here: RunningServer, peer: Peer) -> None:
    """T-E23: what a transaction says of one user's devices, however often, wakes everybody who shares a room once."""
    alice, room = await joined(here, peer)
    since = (await alice.sync())["next_batch"]
    heard: list[object] = []
    here.hansa.rooms.journal.listen(lambda entries: heard.extend(one for one in entries if one.kind == "device_list"))
    await room.send(name_of(here), edus=[list_update(room.eve, stream_id=number) for number in range(100)])
    assert len(heard) == 1
    assert (await alice.sync(since=since))["device_lists"]["changed"] == [room.eve]


async def test_messages_for_nobody_leave_nothing(here: RunningServer, peer: Peer) -> None:
    """T-F2, T-F3: of messages for users and devices that aren't here not even their ids are kept."""
    alice, room = await joined(here, peer)
    nobody = f"@nobody:{name_of(here)}"
    edus = [to_device(room.eve, nobody, f"a{number}") for number in range(40)]
    edus += [to_device(room.eve, alice.user_id, f"b{number}", "NODEVICE") for number in range(40)]
    await room.send(name_of(here), edus=edus)
    assert await count(here, "incoming_to_device") == 0
    await room.send(name_of(here), edus=[to_device(room.eve, alice.user_id, "c")])
    assert await count(here, "incoming_to_device") == 1 and await messages_of(alice) == ["m.test"]


async def test_an_answer_names_nothing_huge(here: RunningServer, peer: Peer) -> None:
    """T-E12, T-E13: answers are remembered. What is no event id isn't named in them, or a server could have us keep
    megabytes for each of its transactions."""
    await here.user("alice")
    huge = "$" + "x" * 200_000
    rooms = ["!unknown:" + peer.name]
    alice = await here.user("bob")
    rooms.append(await alice.create_room(room_version="1"))
    pdus = [{"room_id": room_id, "event_id": name} for room_id in rooms for name in (huge, "no id", "$some:id")]
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": pdus, "edus": []}
    answer = await peer.ask_json("PUT", name_of(here), V1 + "/send/huge", body)
    assert set(answer["pdus"]) == {"$some:id"}


async def test_a_budget_is_a_servers_own(
    postgres: PostgresForTests, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-E13, T-E23: beyond its budget a server's typing and receipts are dropped, and with messages to devices it has
    to wait; none is lost, and other servers have budgets of their own."""
    for kind, limit in ((TYPING, 0.000_001), (RECEIPT, 0.000_001), (TO_DEVICE, 1)):
        monkeypatch.setitem(BUDGETS, kind, RateLimit(per_second=limit, burst=4))
    async with postgres.fresh() as dsn, federated_server(dsn, authority) as here, running_peer(authority) as peer:
        alice, room = await joined(here, peer)
        await room.send(name_of(here), edus=[receipt(room, f"$early{number}", ts=1) for number in range(50)])
        found = await here.hansa.world.db.fetchval("SELECT event_id FROM receipts WHERE user_id = $1", room.eve)
        assert found == "$early1"  # a room and a receipt each: two of fifty
        first = [to_device(room.eve, alice.user_id, f"m{number}") for number in range(4)]
        body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [], "edus": [*first, first[0]]}
        assert (await peer.ask("PUT", name_of(here), V1 + "/send/many", body)).status == 429
        assert await messages_of(alice) == []
        body["edus"] = first

        async def taken() -> bool:
            return (await peer.ask("PUT", name_of(here), V1 + "/send/fewer", body)).status == 200

        await until(taken)
        assert await messages_of(alice) == ["m.test"] * 4
        limits = RateLimiter(BUDGETS, FakeClock())
        limits.check(TYPING, "one", cost=4)
        limits.check(TYPING, "other", cost=4)


@pytest.mark.parametrize("odd", [1.5, 2**60, {"deep": [-(2**53)]}])
async def test_only_what_others_take_goes_out(here: RunningServer, peer: Peer, odd: Any) -> None:
    """T-E4: numbers that aren't of canonical JSON would have a strict server refuse all that comes with them."""
    alice, room = await joined(here, peer)

    async def send(number: int, user_id: str, content: Json) -> Any:
        body = {"messages": {user_id: {"D": content}}}
        return await alice.put(f"/sendToDevice/m.test/{number}", body=body)

    (await send(1, room.eve, {"n": odd})).refused(400, "M_BAD_JSON")
    (await send(2, room.eve, {"n": 2})).ok()
    (await send(3, alice.user_id, {"n": odd})).ok()
    await peer.until(lambda: any(edu["edu_type"] == TO_DEVICE for edu in peer.edus))
    sent = [edu["content"]["messages"] for edu in peer.edus if edu["edu_type"] == TO_DEVICE]
    assert sent == [{room.eve: {"D": {"n": 2}}}]


async def test_a_key_of_megabytes_is_none(here: RunningServer, peer: Peer) -> None:
    """T-E8: all servers of a room are asked for keys at once; what one may answer with is no more than keys need."""
    alice, bob = await here.user("alice"), f"@bob:{peer.name}"
    body = {"one_time_keys": {bob: {"D": "signed_curve25519"}}}
    for size, comes in ((1_000, True), (2_000_000, False)):
        given = {"signed_curve25519:A": {**one_time_of(bob, "D"), "more": "x" * size}}
        answer = {"one_time_keys": {bob: {"D": given}}}
        peer.answers[V1 + "/user/keys/claim"] = partial(_same, answer)
        found = (await alice.post("/keys/claim", body=body)).ok()
        assert (bob in found["one_time_keys"], peer.name in found["failures"]) == (comes, not comes)


def _same(answer: Json, sent: Any) -> Json:
    return answer
