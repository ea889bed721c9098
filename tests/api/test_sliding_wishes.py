"""What a request of sliding sync may ask for, by the newer text of MSC4186."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.server import RunningServer
from tests.kit.sliding import PATH, SlidingClient, bodies, types, window


async def test_who_asks_for_all_members_gets_them_beside_who_asks_lazily(server: RunningServer) -> None:
    """MSC4186, combining required state: at once where a list and a subscription ask, and when one comes later."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room_id = await alice.create_room(preset="public_chat", name="x")
    for other in (bob, carol):
        await other.join(room_id)
    lists = {"main": window(limit=1, state=[["*", "*"], ["m.room.member", "$LAZY"]])}

    def members(answer: dict[str, Any]) -> list[str]:
        state = answer["rooms"].get(room_id, {}).get("required_state", ())
        return sorted(event["state_key"] for event in state if event["type"] == "m.room.member")

    everybody = sorted(user.user_id for user in (alice, bob, carol))
    late = SlidingClient(alice, "late")
    assert members(await late.sync(lists=lists)) == [alice.user_id, carol.user_id]
    for state in ([["*", "*"]], [["m.room.member", "*"]], {"include": [{}], "exclude": [{"type": "m.room.create"}]}):
        whole = {room_id: window(limit=1, state=state)}
        both = SlidingClient(alice, f"both {state}")
        assert members(await both.sync(lists=lists, room_subscriptions=whole)) == everybody, state
    none = {room_id: window(limit=1, state={"include": [{}], "exclude": [{"type": "m.room.member"}]})}
    few = await SlidingClient(alice, "few").sync(lists=lists, room_subscriptions=none)
    assert members(few) == [alice.user_id, carol.user_id]
    whole = {room_id: window(limit=1, state=[["m.room.member", "*"], ["*", "*"]])}
    assert set(members(await late.sync(lists=lists, room_subscriptions=whole))) >= {bob.user_id}
    assert (await late.sync(lists=lists, room_subscriptions=whole))["rooms"] == {}


async def test_a_position_is_a_place_in_a_room_too(server: RunningServer) -> None:
    """MSC4186: `pos` can be used in /messages and /relations as next_batch of /sync can."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    root = await alice.send(room_id, "0")
    relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
    await alice.send(room_id, "1", **relation)
    pos = (await SlidingClient(alice).sync(lists={"main": window()}))["pos"]
    since = (await alice.sync())["next_batch"]
    await alice.send(room_id, "2", **relation)
    for token in (pos, since):
        for direction, expected in (("b", ["1"]), ("f", ["2"])):
            chunk = (await alice.get("/rooms/{}/messages", room_id, dir=direction, limit=1, **{"from": token})).ok()
            assert bodies({"timeline": chunk["chunk"]}) == expected
        path = "/_matrix/client/v1/rooms/{}/relations/{}"
        chunk = (await alice.get(path, room_id, root, **{"from": token})).ok()["chunk"]
        assert bodies({"timeline": chunk}) == ["1"]


async def test_a_room_that_was_left_is_shown_to_who_asks_for_it(server: RunningServer) -> None:
    """MSC4186, subscriptions: as it was left, and nothing that was said afterwards; not what is forgotten."""
    alice, bob, eve = [await server.user(name) for name in ("alice", "bob", "eve")]
    room_id = await alice.create_room(preset="public_chat", name="Hof")
    await bob.join(room_id)
    await alice.send(room_id, "before")
    lists, asked = {"main": window()}, {room_id: window()}
    there, later = SlidingClient(bob, "there"), SlidingClient(bob, "later")
    for sliding in (there, later):
        await sliding.sync(lists=lists, room_subscriptions=asked if sliding is there else {})
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await alice.send(room_id, "behind his back")
    (await alice.put("/rooms/{}/state/m.room.name", room_id, body={"name": "Keller"})).ok()
    told = (await there.sync(lists=lists, room_subscriptions=asked))["rooms"][room_id]
    assert told["membership"] == "leave" and "initial" not in told and types(told["timeline"]) == ["m.room.member"]
    assert (await later.sync(lists=lists))["rooms"][room_id]["membership"] == "leave"
    new = SlidingClient(bob, "new")
    for sliding in (later, new):
        answer = await sliding.sync(lists=lists, room_subscriptions=asked)
        room = answer["rooms"][room_id]
        assert room["initial"] and room["membership"] == "leave" and room["name"] == "Hof"
        assert bodies(room) == ["before"] and answer["lists"]["main"]["count"] == 0
    await alice.send(room_id, "and again")
    for sliding in (there, later, new):
        assert (await sliding.sync(lists=lists, room_subscriptions=asked))["rooms"] == {}
    assert (await SlidingClient(eve).sync(room_subscriptions=asked))["rooms"] == {}
    await bob.join(room_id)
    assert (await new.sync(lists=lists, room_subscriptions=asked))["rooms"][room_id]["name"] == "Keller"
    for path in ("/rooms/{}/leave", "/rooms/{}/forget"):
        (await bob.post(path, room_id)).ok()
    assert (await SlidingClient(bob, "gone").sync(room_subscriptions=asked))["rooms"] == {}


@pytest.mark.parametrize(
    "body",
    [
        {"lists": {str(number): window() for number in range(101)}},
        {"room_subscriptions": {f"!{number}:b": window() for number in range(1_001)}},
        {"set_presence": "asleep"},
    ],
)
async def test_what_clients_are_told_of_too_much(server: RunningServer, body: dict[str, Any]) -> None:
    """MSC4186 names the error."""
    alice = await server.user("alice")
    (await alice.post(PATH, body=body)).refused(400, "M_INVALID_PARAM")
