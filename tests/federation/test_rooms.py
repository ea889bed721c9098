"""Rooms that two servers share: coming in, talking, inviting, leaving, from both sides."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from tests.kit.server import Client, RunningServer
from tests.kit.until import until

VERSIONS = ("6", "9", "10", "11", "12")


def name_of(server: RunningServer) -> str:
    return server.hansa.config.server_name


async def join(user: Client, room_id: str, through: RunningServer) -> None:
    """In the room, with all of its members known."""
    await join_through(user, room_id, name_of(through))


async def join_through(user: Client, room_id: str, server_name: str) -> None:
    (await user.post(f"/join/{{}}?via={server_name}&server_name={server_name}", room_id)).ok()
    await members(user, room_id)


async def bodies(user: Client, room_id: str) -> list[str]:
    page = (await user.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    return [event["content"].get("body") for event in reversed(page["chunk"]) if event["type"] == "m.room.message"]


async def members(user: Client, room_id: str) -> set[str]:
    return set((await user.get("/rooms/{}/joined_members", room_id)).ok()["joined"])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_is_joined(here: RunningServer, there: RunningServer, version: str) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat", room_version=version, name="Town")
    await alice.send(room_id, "before")
    await join(bob, room_id, here)
    assert await members(bob, room_id) == {alice.user_id, bob.user_id}
    assert (await bob.get("/rooms/{}/state/m.room.name", room_id)).ok()["name"] == "Town"
    assert await members(alice, room_id) == {alice.user_id, bob.user_id}
    await bob.send(room_id, "I am here")
    assert await bodies(bob, room_id) == ["before", "I am here"]


async def test_a_guest_goes_nowhere_unseen(here: RunningServer, there: RunningServer) -> None:
    """T-G21: into a room of another server, of which nobody here knows whether it takes guests, only after others."""
    alice, bob = await here.user("alice"), await there.user("bob")
    closed = await alice.create_room(preset="public_chat")
    taking = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    opened = await alice.create_room(preset="public_chat", initial_state=[taking])
    account = (await there.anonymous().request("POST", "/register", body={}, query={"kind": "guest"})).ok()
    guest = there.anonymous()
    guest.token, guest.user_id = account["access_token"], account["user_id"]
    path = f"/join/{{}}?via={name_of(here)}&server_name={name_of(here)}"
    for room_id in (closed, opened):
        (await guest.post(path, room_id)).refused(403, "M_GUEST_ACCESS_FORBIDDEN")
        await join(bob, room_id, here)
    (await guest.post(path, closed)).refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await guest.post(path, opened)).ok()


@pytest.mark.parametrize("version", VERSIONS)
async def test_what_one_says_the_other_hears(here: RunningServer, there: RunningServer, version: str) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat", room_version=version)
    await join(bob, room_id, here)
    for number in range(5):
        await alice.send(room_id, f"a{number}")
        await bob.send(room_id, f"b{number}")
    wanted = {f"{name}{number}" for name in "ab" for number in range(5)}
    for user in (alice, bob):
        await until(partial(has, user, room_id, wanted))
    await bob.send(room_id, "last")
    await until(lambda: has(alice, room_id, wanted | {"last"}))


async def test_an_invite_reaches_another_server(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="private_chat", name="Parlour")
    since = (await bob.sync())["next_batch"]
    (await alice.post("/rooms/{}/invite", room_id, body={"user_id": bob.user_id})).ok()
    invited = (await bob.sync(since=since))["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert {"m.room.create", "m.room.name", "m.room.member"} <= {event["type"] for event in invited}
    assert next(event for event in invited if event["type"] == "m.room.name")["content"] == {"name": "Parlour"}
    (await bob.post("/join/{}", room_id)).ok()
    assert await members(bob, room_id) == {alice.user_id, bob.user_id}
    await bob.send(room_id, "thanks")
    await until(lambda: has(alice, room_id, {"thanks"}))


async def test_an_invite_is_declined(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    first = await bob.sync()
    assert room_id in first["rooms"]["invite"]
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    after = await bob.sync(since=first["next_batch"])
    assert room_id in after["rooms"]["leave"]
    assert "invite" not in (await bob.sync()).get("rooms", {})
    found = (await alice.get("/rooms/{}/state/m.room.member/{}", room_id, bob.user_id)).ok()
    assert found["membership"] == "leave"


async def test_who_leaves_can_come_back(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await join(bob, room_id, here)
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await until(lambda: are(alice, room_id, {alice.user_id}))
    (await alice.put("/rooms/{}/state/m.room.name", room_id, body={"name": "Meanwhile"})).ok()
    await join(bob, room_id, here)
    assert (await bob.get("/rooms/{}/state/m.room.name", room_id)).ok()["name"] == "Meanwhile"
    await bob.send(room_id, "again")
    await until(lambda: has(alice, room_id, {"again"}))


async def test_a_knock_is_answered(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(preset="private_chat", initial_state=[rule], name="Gate")
    (await bob.post(f"/knock/{{}}?via={name_of(here)}", room_id)).ok()
    knocked = (await bob.sync())["rooms"]["knock"][room_id]["knock_state"]["events"]
    assert {"m.room.name", "m.room.member"} <= {event["type"] for event in knocked}
    (await alice.post("/rooms/{}/invite", room_id, body={"user_id": bob.user_id})).ok()
    assert room_id in (await bob.sync())["rooms"]["invite"]
    (await bob.post("/join/{}", room_id)).ok()
    assert await members(bob, room_id) == {alice.user_id, bob.user_id}


async def test_both_change_the_state_at_once(here: RunningServer, there: RunningServer) -> None:
    """Branches meet: both servers end with the same state."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat", power_level_content_override={"state_default": 0})
    await join(bob, room_id, here)
    for number in range(5):
        await asyncio.gather(
            alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": f"alice {number}"}),
            bob.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": f"bob {number}"}),
            bob.put("/rooms/{}/state/m.room.name", room_id, body={"name": f"bob {number}"}),
        )
    await alice.send(room_id, "from alice")
    await bob.send(room_id, "from bob")
    for user in (alice, bob):
        await until(partial(has, user, room_id, {"from alice", "from bob"}))

    async def same() -> bool:
        states = [(await user.get("/rooms/{}/state", room_id)).ok() for user in (alice, bob)]
        ids = [{event["event_id"] for event in state} for state in states]
        return ids[0] == ids[1]

    await until(same)


async def has(user: Client, room_id: str, wanted: set[str]) -> bool:
    return wanted <= set(await bodies(user, room_id))


async def are(user: Client, room_id: str, wanted: set[str]) -> bool:
    return await members(user, room_id) == wanted


async def test_the_past_is_fetched_when_somebody_reads_it(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    for number in range(150):
        await alice.send(room_id, str(number))
    await join(bob, room_id, here)
    await bob.send(room_id, "new")
    seen: list[str] = []
    start = None
    for _ in range(20):
        query = {"dir": "b", "limit": "40"} | ({"from": start} if start else {})
        page = (await bob.get("/rooms/{}/messages", room_id, **query)).ok()
        seen += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        start = page.get("end")
        if start is None:
            break
    assert seen == ["new", *(str(number) for number in reversed(range(150)))]


async def test_what_happened_while_away_lies_between(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await join(bob, room_id, here)
    await bob.send(room_id, "first")
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await until(lambda: are(alice, room_id, {alice.user_id}))
    for number in range(3):
        await alice.send(room_id, f"away {number}")
    await join(bob, room_id, here)
    await bob.send(room_id, "back")
    assert await bodies(bob, room_id) == ["first", "away 0", "away 1", "away 2", "back"]


async def test_what_was_before_the_first_stay_lies_before_it(here: RunningServer, there: RunningServer) -> None:
    """One answer tells the time away and all before it: that goes before what came in when it happened."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await alice.send(room_id, "before")
    await join(bob, room_id, here)
    await bob.send(room_id, "first")
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await until(lambda: are(alice, room_id, {alice.user_id}))
    await alice.send(room_id, "away")
    await join(bob, room_id, here)
    await bob.send(room_id, "back")
    assert await bodies(bob, room_id) == ["before", "first", "away", "back"]
    assert await _all_of(bob, room_id) == await _all_of(alice, room_id)


async def _all_of(user: Client, room_id: str) -> list[str]:
    page = (await user.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    return [event["event_id"] for event in page["chunk"]]


async def test_a_timeline_begins_after_a_gap(here: RunningServer, there: RunningServer) -> None:
    """T-G5: nothing is shown as following on what it doesn't; pages fill what lies between."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await join(bob, room_id, here)
    await bob.send(room_id, "first")
    since = (await bob.sync())["next_batch"]
    (await bob.post("/rooms/{}/leave", room_id)).ok()
    await until(lambda: are(alice, room_id, {alice.user_id}))
    for number in range(3):
        await alice.send(room_id, f"away {number}")
    await join(bob, room_id, here)
    await bob.send(room_id, "back")
    for answer in (await bob.sync(), await bob.sync(since=since)):
        timeline = answer["rooms"]["join"][room_id]["timeline"]
        said = [event["content"].get("body") for event in timeline["events"] if event["type"] == "m.room.message"]
        assert timeline["limited"] and said == ["back"]
        query = {"from": timeline["prev_batch"], "dir": "b", "limit": "3"}
        page = (await bob.get("/rooms/{}/messages", room_id, **query)).ok()
        assert [event["content"].get("body") for event in page["chunk"]] == ["away 2", "away 1", "away 0"]


async def test_profiles_of_others_are_asked_for(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": "Bob"})).ok()
    assert (await alice.get("/profile/{}", bob.user_id)).ok()["displayname"] == "Bob"
    (await alice.get("/profile/@nobody:{}", name_of(there))).refused(404, "M_NOT_FOUND")


async def test_a_day_before_one_came_is_found(here: RunningServer, there: RunningServer) -> None:
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    first = await alice.send(room_id, "first")
    for number in range(10):
        await alice.send(room_id, str(number))
    found = (await alice.get("/rooms/{}/event/{}", room_id, first)).ok()
    await join(bob, room_id, here)
    path = "/_matrix/client/v1/rooms/{}/timestamp_to_event"
    answer = (await bob.get(path, room_id, ts=str(found["origin_server_ts"]), dir="f")).ok()
    assert answer == {"event_id": first, "origin_server_ts": found["origin_server_ts"]}
    around = (await bob.get("/rooms/{}/context/{}", room_id, first)).ok()
    assert around["event"]["event_id"] == first


async def test_threads_that_were_fetched_later_are_older(here: RunningServer, there: RunningServer) -> None:
    """Threads are in the order of their newest replies in the room, not in that in which these came here."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await bob.create_room(preset="public_chat")

    async def thread(user: Client, name: str) -> str:
        root = await user.send(room_id, name)
        await user.send(room_id, f"of {name}", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
        return root

    old = [await thread(bob, name) for name in ("oldest", "older", "old")]
    await join(alice, room_id, there)
    new = [await thread(alice, name) for name in ("new", "newer")]
    assert "of oldest" in await bodies(alice, room_id)

    async def listed(**query: str) -> list[str]:
        found: list[str] = []
        while True:
            page = (await alice.get("/_matrix/client/v1/rooms/{}/threads", room_id, **query)).ok()
            found += [event["event_id"] for event in page["chunk"]]
            if "next_batch" not in page:
                return found
            query["from"] = page["next_batch"]

    assert await listed() == [*new[::-1], *old[::-1]]
    assert await listed(limit="1") == await listed(limit="2") == await listed()
    assert await listed(include="participated") == new[::-1]
    for root in (new[0], old[1]):
        relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
        await alice.send(room_id, "and more", **relation)
    assert await listed() == [old[1], new[0], new[1], old[2], old[0]]
    assert await listed(limit="2", include="participated") == [old[1], new[0], new[1]]
