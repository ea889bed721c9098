"""MSC3757: state that belongs to a user, several of a type, which only they and those with more power may set."""

from __future__ import annotations

from dataclasses import replace

import pytest

from homeserver.core.room_versions import ROOM_VERSIONS
from tests.kit.server import Client, RunningServer

VERSIONS = [version.id for version in ROOM_VERSIONS.values() if version.owned_state]
TYPE = "org.example.location"


async def room_of(alice: Client, *others: Client, version: str) -> str:
    """Alice's room, where everybody may set state of this type."""
    power = {"events": {TYPE: 0}}
    body = {"preset": "public_chat", "room_version": version, "power_level_content_override": power}
    room: str = (await alice.post("/createRoom", body=body)).ok()["room_id"]
    for other in others:
        (await other.post("/join/{}", room)).ok()
    return room


async def put(client: Client, room: str, key: str) -> tuple[int, str]:
    answer = await client.put("/rooms/{}/state/{}/{}", room, TYPE, key, body={"at": client.user_id})
    return answer.status, answer.json.get("errcode", "")


@pytest.mark.parametrize("version", VERSIONS)
async def test_whose_state_it_is(server: RunningServer, version: str) -> None:
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room = await room_of(alice, bob, carol, version=version)
    refused, bad = (403, "M_FORBIDDEN"), (400, "M_BAD_JSON")
    for key in (bob.user_id, f"{bob.user_id}_", f"{bob.user_id}_1", f"{bob.user_id}_@carol:hansa.test", "plain"):
        assert await put(bob, room, key) == (200, ""), key
    for key in (carol.user_id, f"{carol.user_id}_1", alice.user_id, f"{alice.user_id}_1", "@nobody:hansa.test_1"):
        assert await put(bob, room, key) == refused, key
    for key in (bob.user_id, f"{bob.user_id}_1", "@nobody:elsewhere.test_1"):
        assert await put(alice, room, key) == (200, ""), f"{key}: who has more power"
    for key in ("@", "@bob", "@bob_1", f"{bob.user_id}x_1", f"{bob.user_id}:1:2", "@bob:_1"):
        answer = await put(alice, room, key)
        assert answer == (bad if key != f"{bob.user_id}x_1" else (200, "")), key
    shown = (await carol.get("/rooms/{}/state/{}/{}", room, TYPE, f"{bob.user_id}_1")).ok()
    assert shown == {"at": alice.user_id}
    members = (await alice.get("/rooms/{}/joined_members", room)).ok()["joined"]
    assert set(members) == {alice.user_id, bob.user_id, carol.user_id}, "state of one's own is no membership"


async def test_stable_versions_have_none_of_it(server: RunningServer) -> None:
    alice = await server.user("alice")
    room = await room_of(alice, version="11")
    assert await put(alice, room, alice.user_id) == (200, "")
    for key in (f"{alice.user_id}_1", "@nobody:hansa.test", "@"):
        assert await put(alice, room, key) == (403, "M_FORBIDDEN"), key


async def test_apps_see_that_they_are_on_trial(server: RunningServer) -> None:
    alice = await server.user("alice")
    found = (await alice.get("/capabilities")).ok()["capabilities"]["m.room_versions"]["available"]
    assert {name for name, kind in found.items() if kind == "unstable"} == set(VERSIONS)
    assert found["11"] == "stable" and len(found) == len(ROOM_VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_else_differs(version: str) -> None:
    base = ROOM_VERSIONS[version.removeprefix("org.matrix.msc3757.")]
    assert replace(base, id=version, owned_state=True, stable=False) == ROOM_VERSIONS[version]
    assert ROOM_VERSIONS[version].kept_content == base.kept_content


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_is_upgraded_to_it(server: RunningServer, version: str) -> None:
    alice = await server.user("alice")
    old = await room_of(alice, version="10")
    new = (await alice.post("/rooms/{}/upgrade", old, body={"new_version": version})).ok()["replacement_room"]
    assert await put(alice, new, f"{alice.user_id}_1") == (200, "")
