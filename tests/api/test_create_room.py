"""New rooms over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.room_versions import ROOM_VERSIONS
from tests.kit.server import Client, RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as running:
        yield running


async def state_of(client: Client, room: str) -> dict[tuple[str, str], Any]:
    events = (await client.get("/rooms/{}/state", room)).ok()
    return {(event["type"], event["state_key"]): event["content"] for event in events}


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
async def test_a_room_of_each_version(server: RunningServer, version: str) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(
        room_version=version, name="Deich", topic="Wind", room_alias_name="deich", invite=[bob.user_id], is_direct=True
    )
    state = await state_of(alice, room)
    create, levels = state["m.room.create", ""], state["m.room.power_levels", ""]
    assert create["room_version"] == version
    assert (create.get("creator") == alice.user_id) == ROOM_VERSIONS[version].creator_in_create_content
    if version == "12":
        assert ":" not in room
        assert levels["users"] == {}
        assert levels["events"]["m.room.tombstone"] == 150 > levels["state_default"]
    else:
        assert levels["users"] == {alice.user_id: 100}
    assert state["m.room.name", ""] == {"name": "Deich"}
    assert state["m.room.topic", ""] == {"topic": "Wind", "m.topic": {"m.text": [{"body": "Wind"}]}}
    assert state["m.room.canonical_alias", ""] == {"alias": "#deich:hansa.test"}
    assert state["m.room.member", bob.user_id] == {"membership": "invite", "displayname": "bob", "is_direct": True}
    assert state["m.room.member", alice.user_id] == {"membership": "join", "displayname": "alice"}
    assert (await bob.post("/join/{}", "#deich:hansa.test")).ok() == {"room_id": room}
    await bob.send(room)


@pytest.mark.parametrize(
    ("body", "join_rule", "guest_access"),
    [
        ({}, "invite", "can_join"),
        ({"visibility": "private"}, "invite", "can_join"),
        ({"visibility": "public"}, "public", None),
        ({"visibility": "public", "preset": "private_chat"}, "invite", "can_join"),
        ({"preset": "trusted_private_chat"}, "invite", "can_join"),
        ({"preset": "public_chat"}, "public", None),
    ],
)
async def test_presets(server: RunningServer, body: dict[str, Any], join_rule: str, guest_access: str | None) -> None:
    alice = await server.user("alice")
    state = await state_of(alice, await alice.create_room(**body))
    assert state["m.room.join_rules", ""] == {"join_rule": join_rule}
    # What isn't said is forbidden.
    assert state.get(("m.room.guest_access", ""), {}).get("guest_access") == guest_access
    assert state["m.room.history_visibility", ""] == {"history_visibility": "shared"}


@pytest.mark.parametrize("version", ["11", "12"])
async def test_trusted_invitees_get_the_creators_power(server: RunningServer, version: str) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(
        room_version=version,
        preset="trusted_private_chat",
        invite=[bob.user_id],
        creation_content={"additional_creators": ["@carol:hansa.test", bob.user_id]} if version == "12" else {},
    )
    state = await state_of(alice, room)
    if version == "12":
        assert state["m.room.create", ""]["additional_creators"] == ["@carol:hansa.test", bob.user_id]
    else:
        assert state["m.room.power_levels", ""]["users"] == {alice.user_id: 100, bob.user_id: 100}
    await bob.join(room)
    (await bob.put("/rooms/{}/state/m.room.name", room, body={"name": "ours"})).ok()


async def test_initial_state_wins_over_the_preset_and_loses_to_name(server: RunningServer) -> None:
    alice = await server.user("alice")
    room = await alice.create_room(
        name="told",
        initial_state=[
            {"type": "m.room.name", "content": {"name": "initial"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}},
            {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}, "state_key": ""},
            {"type": "org.example", "state_key": "key", "content": {"n": 1}},
        ],
    )
    timeline = (await alice.get("/rooms/{}/messages", room, dir="f", limit=50)).ok()["chunk"]
    assert [event["type"] for event in timeline] == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.guest_access",
        "m.room.history_visibility",
        "m.room.encryption",
        "org.example",
        "m.room.name",
    ]
    assert timeline[-1]["content"] == {"name": "told"}
    (await alice.put("/rooms/{}/state/m.room.encryption", room, body={})).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"room_version": "nope"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"room_version": 12}, 400, "M_BAD_JSON"),
        ({"preset": "nope"}, 400, "M_BAD_JSON"),
        ({"visibility": "nope"}, 400, "M_BAD_JSON"),
        ({"room_alias_name": "a:b"}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": "a b"}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": "a" * 300}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": "taken"}, 400, "M_ROOM_IN_USE"),
        ({"invite": ["nobody"]}, 400, "M_INVALID_PARAM"),
        ({"invite": [f"@u{n}:hansa.test" for n in range(101)]}, 400, "M_INVALID_PARAM"),
        ({"invite": ["@someone:away.test"]}, 502, "M_UNKNOWN"),
        ({"invite_3pid": [{"medium": "email", "address": "a@b.c"}]}, 400, "M_MISSING_PARAM"),
        ({"initial_state": [{"type": "a", "content": {}}] * 201}, 400, "M_INVALID_PARAM"),
        ({"initial_state": [{"type": "a"}]}, 400, "M_MISSING_PARAM"),
        ({"initial_state": [{"type": "a", "content": {"n": 1.5}}]}, 400, "M_BAD_JSON"),
        ({"initial_state": [{"type": "a\x00", "content": {}}]}, 400, "M_BAD_JSON"),
        ({"initial_state": [{"type": "a" * 256, "content": {}}]}, 413, "M_TOO_LARGE"),
        ({"initial_state": [{"type": "a", "content": {"n": "n" * 66_000}}]}, 413, "M_TOO_LARGE"),
        ({"initial_state": [{"type": "m.room.create", "content": {}}]}, 400, "M_INVALID_ROOM_STATE"),
        ({"name": "n" * 1_001}, 400, "M_INVALID_PARAM"),
        ({"topic": "n" * 10_001}, 400, "M_INVALID_PARAM"),
        ({"creation_content": {"additional_creators": "@a:b.c"}}, 400, "M_BAD_JSON"),
        ({"creation_content": {"additional_creators": ["a"]}}, 400, "M_INVALID_ROOM_STATE"),
        ({"power_level_content_override": {"users": {"@alice:hansa.test": 100}}}, 400, "M_INVALID_ROOM_STATE"),
        ({"room_version": "11", "power_level_content_override": {"users": {}}}, 400, "M_INVALID_ROOM_STATE"),
        ({"power_level_content_override": {"ban": "high"}}, 400, "M_INVALID_ROOM_STATE"),
        (
            {"initial_state": [{"type": "m.room.redaction", "state_key": "", "content": {"redacts": "$said"}}]},
            400,
            "M_INVALID_PARAM",
        ),
        ({"initial_state": [{"type": "m.room.third_party_invite", "content": {}}]}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_refused_creations_leave_nothing(
    server: RunningServer, body: dict[str, Any], status: int, errcode: str
) -> None:
    """T-H6, T-H7: a creation is a whole room or none, within bounds."""
    alice = await server.user("alice")
    taken = await alice.create_room(room_alias_name="taken")
    (await alice.post("/createRoom", body=body)).refused(status, errcode)
    assert (await alice.get("/joined_rooms")).ok() == {"joined_rooms": [taken]}


@pytest.mark.parametrize("version", ["11", "12"])
async def test_nobody_is_invited_past_the_limits(server: RunningServer, version: str) -> None:
    """T-H6: member events in initial_state would be invites that no limit counts, nor a shadow ban stops."""
    alice, bob = await server.user("alice"), await server.user("bob")
    for membership in ("invite", "leave", "ban"):
        member = {"type": "m.room.member", "state_key": bob.user_id, "content": {"membership": membership}}
        body = {"room_version": version, "initial_state": [member]}
        (await alice.post("/createRoom", body=body)).refused(400, "M_INVALID_PARAM")
    assert not (await bob.sync()).get("rooms", {}).get("invite")
    assert (await alice.get("/joined_rooms")).ok() == {"joined_rooms": []}


async def test_creators_are_checked_by_version(server: RunningServer) -> None:
    """T-C16: in version 12 creators are not in the power levels and can't be put there."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(room_version="12", creation_content={"additional_creators": [bob.user_id]})
    for user_id in (alice.user_id, bob.user_id):
        body = {"users": {user_id: 50}}
        (await alice.put("/rooms/{}/state/m.room.power_levels", room, body=body)).refused(400, "M_BAD_JSON")


async def test_rooms_made_in_the_same_moment_are_different_ones(server: RunningServer) -> None:
    """From version 12 on a room's id comes from its create event alone."""
    alice = await server.user("alice")
    made = await asyncio.gather(*[alice.create_room() for _ in range(20)])
    assert len(set(made)) == 20
