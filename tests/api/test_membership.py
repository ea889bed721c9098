"""Memberships over HTTP: who may do what to whom."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from homeserver.config import Config, Listener, load_config
from tests.kit.server import Answered, Client, RunningServer, config_for_tests, running_server
from tests.kit.until import until


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as running:
        yield running


async def users(server: RunningServer, *names: str) -> list[Client]:
    return [await server.user(name) for name in names]


async def act(client: Client, action: str, room: str, target: Client | None = None, **body: Any) -> Answered:
    named = {"user_id": target.user_id} if target is not None else {}
    return await client.post("/rooms/{}/" + action, room, body={**named, **body})


async def member(viewer: Client, room: str, of: Client) -> Any:
    return (await viewer.get("/rooms/{}/state/m.room.member/{}", room, of.user_id)).ok()


async def test_the_whole_way_through_a_room(server: RunningServer) -> None:
    alice, bob = await users(server, "alice", "bob")
    room = await alice.create_room()
    (await bob.post("/join/{}", room)).refused(403, "M_FORBIDDEN")
    (await act(alice, "invite", room, bob, reason="come")).ok()
    (await act(alice, "invite", room, bob, reason="come")).ok()
    assert await member(alice, room, bob) == {"membership": "invite", "displayname": "bob", "reason": "come"}
    (await act(bob, "join", room, reason="thanks")).ok()
    (await act(bob, "join", room)).ok()
    assert await member(alice, room, bob) == {"membership": "join", "displayname": "bob", "reason": "thanks"}
    (await act(alice, "invite", room, bob)).refused(403, "M_FORBIDDEN")
    (await act(alice, "kick", room, bob, reason="tired")).ok()
    assert await member(alice, room, bob) == {"membership": "leave", "reason": "tired"}
    (await act(alice, "kick", room, bob)).refused(403, "M_FORBIDDEN")
    (await act(alice, "ban", room, bob, reason="rude")).ok()
    assert await member(alice, room, bob) == {"membership": "ban", "reason": "rude"}
    (await act(alice, "invite", room, bob)).refused(403, "M_FORBIDDEN")
    (await act(bob, "join", room)).refused(403, "M_FORBIDDEN")
    (await act(bob, "leave", room)).refused(403, "M_FORBIDDEN")
    (await act(alice, "kick", room, bob)).refused(403, "M_FORBIDDEN")
    (await act(alice, "unban", room, bob)).ok()
    (await act(alice, "unban", room, bob)).refused(403, "M_FORBIDDEN")
    (await act(alice, "invite", room, bob)).ok()
    (await act(bob, "leave", room, reason="no")).ok()
    (await act(bob, "leave", room)).ok()
    assert await member(alice, room, bob) == {"membership": "leave", "reason": "no"}


async def test_forgetting(server: RunningServer) -> None:
    alice, bob = await users(server, "alice", "bob")
    room = await alice.create_room(preset="public_chat")
    (await act(bob, "forget", room)).refused(400, "M_UNKNOWN")
    await bob.join(room)
    (await act(bob, "forget", room)).refused(400, "M_UNKNOWN")
    (await act(bob, "leave", room)).ok()
    (await act(bob, "forget", room)).ok()
    (await act(bob, "forget", "!unknown:hansa.test")).refused(400, "M_UNKNOWN")
    await bob.join(room)


@pytest.mark.parametrize("action", ["invite", "kick", "ban", "unban", "leave"])
async def test_strangers_learn_nothing(server: RunningServer, action: str) -> None:
    """T-C15: nobody changes a room from outside, and a private room answers as one that isn't there."""
    alice, bob, carol = await users(server, "alice", "bob", "carol")
    room = await alice.create_room()
    target = None if action == "leave" else alice
    here = await act(carol, action, room, target)
    nowhere = await act(carol, action, "!nowhere:hansa.test", target)
    assert (here.status, here.json) == (nowhere.status, nowhere.json) == (403, here.json)
    assert (await alice.get("/joined_rooms")).ok() == {"joined_rooms": [room]}
    assert bob.user_id


@pytest.mark.parametrize(
    ("method", "body", "status", "errcode"),
    [
        ("invite", {}, 400, "M_MISSING_PARAM"),
        ("invite", {"user_id": 1}, 400, "M_BAD_JSON"),
        ("invite", {"user_id": "bob"}, 400, "M_INVALID_PARAM"),
        ("invite", {"user_id": "@bob:away.test"}, 502, "M_UNKNOWN"),
        ("invite", {"medium": "email", "address": "a@b.c", "id_server": "x"}, 400, "M_MISSING_PARAM"),
        ("invite", {"user_id": "@bob:hansa.test", "reason": "x" * 1_001}, 400, "M_INVALID_PARAM"),
        ("kick", {"user_id": "@bob:hansa.test", "reason": 7}, 400, "M_BAD_JSON"),
        ("ban", {"reason": "x"}, 400, "M_MISSING_PARAM"),
        ("leave", {"reason": "x" * 1_001}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_bad_requests(
    server: RunningServer, method: str, body: dict[str, Any], status: int, errcode: str
) -> None:
    """T-C22: reasons are bounded."""
    alice = await server.user("alice")
    room = await alice.create_room()
    (await alice.post("/rooms/{}/" + method, room, body=body)).refused(status, errcode)


@pytest.mark.parametrize(
    ("name", "status", "errcode"),
    [
        ("#none:hansa.test", 404, "M_NOT_FOUND"),
        ("#none:away.test", 404, "M_NOT_FOUND"),
        ("!none:away.test", 502, "M_UNKNOWN"),
        ("!" + "x" * 43, 404, "M_NOT_FOUND"),
        ("none", 400, "M_INVALID_PARAM"),
        ("!", 400, "M_INVALID_PARAM"),
    ],
)
async def test_rooms_that_are_not_here(server: RunningServer, name: str, status: int, errcode: str) -> None:
    alice = await server.user("alice")
    (await alice.post("/join/{}", name)).refused(status, errcode)
    (await alice.post("/knock/{}", name)).refused(status, errcode)


async def test_knocking(server: RunningServer) -> None:
    """T-C22: only where the join rule lets people knock."""
    alice, bob, carol = await users(server, "alice", "bob", "carol")
    closed = await alice.create_room()
    knockable = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room = await alice.create_room(initial_state=[knockable], room_alias_name="door")
    (await bob.post("/knock/{}", closed)).refused(403, "M_FORBIDDEN")
    body = {"reason": "let me in"}
    assert (await bob.post("/knock/{}", "#door:hansa.test", body=body)).ok() == {"room_id": room}
    assert await member(alice, room, bob) == {"membership": "knock", "displayname": "bob", "reason": "let me in"}
    (await bob.post("/join/{}", room)).refused(403, "M_FORBIDDEN")
    (await act(bob, "leave", room)).ok()
    (await bob.post("/knock/{}", room)).ok()
    (await act(alice, "invite", room, bob)).ok()
    (await bob.post("/knock/{}", room)).refused(403, "M_FORBIDDEN")
    await bob.join(room)
    (await bob.post("/knock/{}", room)).refused(403, "M_FORBIDDEN")
    (await carol.post("/knock/{}", room)).ok()
    (await act(alice, "kick", room, carol)).ok()


@pytest.mark.parametrize(("version", "rule"), [("8", "restricted"), ("12", "restricted"), ("10", "knock_restricted")])
async def test_restricted_rooms(server: RunningServer, version: str, rule: str) -> None:
    """T-C21: the server names the authorising member, the client can't; nobody is let in without one."""
    alice, bob, carol = await users(server, "alice", "bob", "carol")
    hall = await alice.create_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": hall}, {"type": "odd"}, 7]
    rules = {"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}}
    room = await alice.create_room(room_version=version, initial_state=[rules])
    claim = {"membership": "join", "join_authorised_via_users_server": alice.user_id}
    (await carol.post("/join/{}", room)).refused(403, "M_FORBIDDEN")
    path = "/rooms/{}/state/m.room.member/{}"
    (await carol.put(path, room, carol.user_id, body=claim)).refused(403, "M_FORBIDDEN")
    await bob.join(hall)
    await bob.join(room)
    assert (await member(bob, room, bob))["join_authorised_via_users_server"] == alice.user_id
    (await bob.put(path, room, bob.user_id, body={**claim, "displayname": "Bo"})).ok()
    assert await member(bob, room, bob) == {"membership": "join", "displayname": "Bo"}
    (await act(alice, "invite", room, carol)).ok()
    await carol.join(room)
    assert "join_authorised_via_users_server" not in await member(carol, room, carol)
    (await act(alice, "leave", room)).ok()
    (await act(bob, "leave", room)).ok()


async def test_nobody_left_who_may_invite(server: RunningServer) -> None:
    alice, bob, carol = await users(server, "alice", "bob", "carol")
    hall = await alice.create_room(preset="public_chat")
    allow = [{"type": "m.room_membership", "room_id": hall}]
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    levels = {"invite": 50}
    room = await alice.create_room(initial_state=[rules], power_level_content_override=levels)
    for client in (bob, carol):
        await client.join(hall)
    await bob.join(room)
    (await act(alice, "leave", room)).ok()
    (await carol.post("/join/{}", room)).refused(400, "M_UNABLE_TO_GRANT_JOIN")


async def test_guests(server: RunningServer) -> None:
    """T-G21: guests come in where the room says so."""
    alice = await server.user("alice")
    guest = server.anonymous()
    account = (await guest.request("POST", "/register", body={}, query={"kind": "guest"})).ok()
    guest.token, guest.user_id = account["access_token"], account["user_id"]
    closed = await alice.create_room(preset="public_chat")
    (await guest.post("/join/{}", closed)).refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    opened = {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}}
    room = await alice.create_room(preset="public_chat", initial_state=[opened])
    assert await guest.join(room) == room
    (await alice.put("/rooms/{}/state/m.room.guest_access", room, body={"guest_access": "forbidden"})).ok()

    async def is_out() -> bool:
        return bool((await member(alice, room, guest))["membership"] == "leave")

    await until(is_out)
    (await guest.post("/createRoom", body={})).refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    body = {"guest_access": "can_join"}
    said = (await alice.put("/rooms/{}/state/m.room.guest_access", room, body=body)).ok()["event_id"]
    assert await guest.join(room) == room
    (await alice.put("/rooms/{}/redact/{}/{}", room, said, "r1", body={})).ok()
    await until(is_out)
    (await guest.post("/join/{}", room)).refused(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_invites_can_be_refused_as_a_whole(server: RunningServer) -> None:
    alice, bob = await users(server, "alice", "bob")
    path = "/user/{}/account_data/m.invite_permission_config"
    (await bob.put(path, bob.user_id, body={"default_action": "block"})).ok()
    room = await alice.create_room()
    (await act(alice, "invite", room, bob)).refused(403, "M_INVITE_BLOCKED")
    (await alice.post("/createRoom", body={"invite": [bob.user_id]})).refused(403, "M_INVITE_BLOCKED")
    body = {"membership": "invite"}
    path_of_state = "/rooms/{}/state/m.room.member/{}"
    (await alice.put(path_of_state, room, bob.user_id, body=body)).refused(403, "M_INVITE_BLOCKED")
    (await bob.put(path, bob.user_id, body={})).ok()
    (await act(alice, "invite", room, bob)).ok()


@pytest.mark.parametrize(
    ("content", "status", "errcode"),
    [
        ({}, 400, "M_BAD_JSON"),
        ({"membership": "sleep"}, 400, "M_BAD_JSON"),
        ({"membership": ["join"]}, 400, "M_BAD_JSON"),
        ({"membership": "join"}, 403, "M_FORBIDDEN"),
        ({"membership": "invite", "third_party_invite": {"signed": {}}}, 200, None),
        ({"membership": "ban"}, 200, None),
    ],
)
async def test_memberships_as_state(
    server: RunningServer, content: dict[str, Any], status: int, errcode: str | None
) -> None:
    """T-C15, T-C20: the same rules by the other door."""
    alice, bob = await users(server, "alice", "bob")
    room = await alice.create_room()
    answer = await alice.put("/rooms/{}/state/m.room.member/{}", room, bob.user_id, body=content)
    assert (answer.status, answer.json.get("errcode")) == (status, errcode), answer.json
    if status == 200:
        assert "third_party_invite" not in await member(alice, room, bob)


LIMITED = """
[rate_limits.create_room]
burst = 2
per_second = 0.001
[rate_limits.join]
burst = 2
per_second = 0.001
[rate_limits.knock]
burst = 2
per_second = 0.001
[rate_limits.invite_sender]
burst = 3
per_second = 0.001
[rate_limits.message]
burst = 3
per_second = 0.001
"""


def limited_config(folder: Path) -> Config:
    """As for other tests, but with rate limits, and tight ones."""
    config_for_tests(folder)
    file = folder / "hansa.toml"
    file.write_text(file.read_text().replace("enabled = false", "enabled = true") + LIMITED)
    return replace(load_config(file, {}), listeners=(Listener(port=0),))


async def test_each_action_has_its_limit(database_dsn: str, tmp_path: Path) -> None:
    """T-H12: limits count users and actions, not paths; each invite of a creation counts."""
    async with running_server(database_dsn, config=limited_config(tmp_path)) as server:
        alice, bob, carol = await users(server, "alice", "bob", "carol")
        invited = [bob.user_id, carol.user_id]
        room = await alice.create_room(preset="public_chat", invite=invited)
        (await alice.post("/createRoom", body={"invite": invited})).refused(429, "M_LIMIT_EXCEEDED")
        refusal = (await alice.post("/createRoom", body={})).refused(429, "M_LIMIT_EXCEEDED")
        assert refusal["retry_after_ms"] > 0
        for path in ("/join/{}", "/rooms/{}/join"):
            (await bob.post(path, room)).ok()
        (await bob.request("POST", "/_matrix/client/r0/join/{}", room, body={})).refused(429, "M_LIMIT_EXCEEDED")
        for text in "abc":
            await bob.send(room, text)
        (await bob.put("/rooms/{}/send/m.room.message/{}", room, "d", body={})).refused(429, "M_LIMIT_EXCEEDED")
        await alice.send(room)


async def test_a_step_counts_whichever_way_it_is_made(database_dsn: str, tmp_path: Path) -> None:
    """T-C22, T-H12: a join and a knock that a client writes as a state event count as such, not as messages alone."""
    async with running_server(database_dsn, config=limited_config(tmp_path)) as server:
        alice, bob, carol = await users(server, "alice", "bob", "carol")
        opened = await alice.create_room(preset="public_chat")
        rules = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        asked = await alice.create_room(initial_state=[rules])

        async def write(user: Client, room: str, membership: str, **content: Any) -> Answered:
            body = {"membership": membership, **content}
            return await user.put("/rooms/{}/state/m.room.member/{}", room, user.user_id, body=body)

        (await write(carol, asked, "knock")).ok()
        (await carol.post("/knock/{}", asked)).ok()
        (await write(carol, asked, "knock")).refused(429, "M_LIMIT_EXCEEDED")
        (await write(bob, opened, "join")).ok()
        # How the room shows somebody is no join.
        (await write(bob, opened, "join", displayname="Bobby")).ok()
        (await act(bob, "leave", opened)).ok()
        (await act(bob, "join", opened)).ok()
        (await act(bob, "leave", opened)).ok()
        (await write(bob, opened, "join")).refused(429, "M_LIMIT_EXCEEDED")


async def test_whoever_is_suspended_may_only_take_back(server: RunningServer) -> None:
    """spec: client-server-api/#account-suspension"""
    alice, bob = await users(server, "alice", "bob")
    room, other = await bob.create_room(preset="public_chat"), await alice.create_room(preset="public_chat")
    await alice.join(room)
    hers, his = await alice.send(room), await bob.send(room)
    mine = await bob.send(room)
    await server.hansa.world.db.execute("UPDATE users SET is_suspended = true WHERE user_id = $1", bob.user_id)
    bob = await server.login("bob")
    for answer in (
        await bob.post("/createRoom"),
        await bob.post("/join/{}", other),
        await bob.post("/knock/{}", other),
        await act(bob, "invite", room, alice),
        await act(bob, "kick", room, alice),
        await act(bob, "ban", room, alice),
        await bob.put("/rooms/{}/send/m.room.message/t", room),
        await bob.put("/rooms/{}/state/m.room.name", room),
        await bob.post("/rooms/{}/upgrade", room, body={"new_version": "12"}),
    ):
        answer.refused(403, "M_USER_SUSPENDED")
    (await bob.put("/rooms/{}/redact/{}/{}", room, hers, "1")).refused(403, "M_FORBIDDEN")
    for number, event_id in enumerate((his, mine)):
        (await bob.put("/rooms/{}/redact/{}/{}", room, event_id, f"r{number}")).ok()
    (await act(bob, "leave", room)).ok()
