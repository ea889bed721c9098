"""Looking into rooms, and the older way to follow them."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.kit.server import Client, RunningServer


async def open_room(client: Client) -> str:
    room = await client.create_room(preset="public_chat")
    body = {"history_visibility": "world_readable"}
    (await client.put("/rooms/{}/state/m.room.history_visibility", room, body=body)).ok()
    return room


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


async def test_looking_into_a_room(server: RunningServer) -> None:
    """T-D11, T-G21: only what anybody may read; guests too."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room, private = await open_room(alice), await alice.create_room()
    sent = [await alice.send(room, str(n)) for n in range(3)]
    guest = server.anonymous()
    account = (await guest.request("POST", "/register", query={"kind": "guest"}, body={})).ok()
    guest.token = account["access_token"]
    for client in (bob, guest):
        seen = (await client.get("/rooms/{}/initialSync", room, limit=2)).ok()
        assert ids(seen["messages"]["chunk"]) == sent[1:] and "membership" not in seen
        assert "m.room.create" in {event["type"] for event in seen["state"]}
        (await client.get("/rooms/{}/initialSync", private)).refused(403, "M_FORBIDDEN")
        (await client.get("/events", room_id=private)).refused(403, "M_FORBIDDEN")
        page = (await client.get("/rooms/{}/messages", room, dir="b", **{"from": seen["messages"]["start"]})).ok()
        assert ids(page["chunk"])[0] == sent[0]
        start = seen["messages"]["end"]
        waiting = asyncio.create_task(client.get("/events", room_id=room, timeout=120_000, **{"from": start}))
        message = await alice.send(room, "news")
        news = (await waiting).ok()
        assert ids(news["chunk"]) == [message]
        assert (await client.get("/events", room_id=room, **{"from": news["end"]})).ok()["chunk"] == []
        sent = [sent[1], sent[2], message]
    own = (await alice.get("/rooms/{}/initialSync", room)).ok()
    assert (own["membership"], own["visibility"]) == ("join", "private")
    assert (await bob.get("/events", room_id=room, **{"from": "?"})).status == 400


async def test_who_is_not_in_a_room_reads_nothing_of_it(server: RunningServer) -> None:
    """T-D11: who is in it, its state and its aliases: a stranger learns none of it, nor does who is only invited; who
    has left reads what was when they left."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="private_chat", room_alias_name="cellar", name="Cellar")
    said = await alice.send(room, "hello")
    paths = (
        "/state", "/state/m.room.name", "/state/m.room.name/", f"/state/m.room.member/{alice.user_id}", "/members",
        "/joined_members", "/aliases", "/messages?dir=b", f"/context/{said}", f"/event/{said}", "/initialSync",
        "/members?membership=join",
    )  # fmt: skip

    async def seen(user: Client) -> dict[str, int]:
        return {path: (await user.get("/rooms/{}" + path, room)).status for path in paths}

    assert set((await seen(alice)).values()) == {200}
    assert set((await seen(bob)).values()) <= {403, 404}
    (await alice.post("/rooms/{}/invite", room, body={"user_id": bob.user_id})).ok()
    assert set((await seen(bob)).values()) <= {403, 404}
    (await bob.post("/join/{}", room)).ok()
    assert set((await seen(bob)).values()) == {200}
    (await bob.post("/rooms/{}/leave", room)).ok()
    (await alice.put("/rooms/{}/state/m.room.name", room, body={"name": "Attic"})).ok()
    carol = await server.user("carol")
    (await alice.post("/rooms/{}/invite", room, body={"user_id": carol.user_id})).ok()
    after = await seen(bob)
    assert {path for path, status in after.items() if status != 200} == {"/joined_members", "/aliases"}
    assert (await bob.get("/rooms/{}/state/m.room.name", room)).ok() == {"name": "Cellar"}
    members = (await bob.get("/rooms/{}/members", room)).ok()["chunk"]
    assert {event["state_key"] for event in members} == {alice.user_id, bob.user_id}


async def test_the_older_way_to_follow_rooms(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat", invite=[bob.user_id])
    message = await alice.send(room)
    first = (await alice.get("/initialSync", limit=1)).ok()
    assert ids(first["rooms"][0]["messages"]["chunk"]) == [message]
    invited = (await bob.get("/initialSync")).ok()["rooms"]
    assert [(entry["room_id"], entry["membership"]) for entry in invited] == [(room, "invite")]
    second = await alice.send(room)
    news = (await alice.get("/events", **{"from": first["end"]})).ok()
    assert second in [event.get("event_id") for event in news["chunk"]]
    assert (await alice.get("/events/{}", second)).ok()["event_id"] == second
    (await bob.get("/events/{}", second)).refused(404, "M_NOT_FOUND")
    (await alice.get("/events/{}", "$nothing")).refused(404, "M_NOT_FOUND")


async def test_the_older_ways_tell_how_a_room_is_and_what_is_new(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat", name="Quay")
    other = await alice.create_room()
    await bob.join(room)
    for name in ("Harbour", "Pier"):
        (await alice.put("/rooms/{}/state/m.room.name", room, body={"name": name})).ok()
    first = (await bob.get("/initialSync", limit=50)).ok()
    state = {(event["type"], event["state_key"]): event for event in first["rooms"][0]["state"]}
    assert state["m.room.name", ""]["content"] == {"name": "Pier"} and ("m.room.create", "") in state
    messages = first["rooms"][0]["messages"]
    (await alice.put("/rooms/{}/state/m.room.name", room, body={"name": "Mole"})).ok()
    page = (await bob.get("/rooms/{}/messages", room, dir="f", **{"from": messages["end"]})).ok()
    assert [event["content"] for event in page["chunk"]] == [{"name": "Mole"}]

    now = (await bob.get("/events")).ok()
    assert now["chunk"] == []
    sent = [await alice.send(room, str(n)) for n in range(15)]
    (await alice.post("/rooms/{}/invite", other, body={"user_id": bob.user_id})).ok()
    news = (await bob.get("/events", **{"from": now["end"]})).ok()
    assert ids(news["chunk"])[:-1] == sent and news["start"] == now["end"]
    assert (news["chunk"][-1]["room_id"], news["chunk"][-1]["state_key"]) == (other, bob.user_id)
    (await alice.post("/rooms/{}/kick", room, body={"user_id": bob.user_id})).ok()
    (left,) = (await bob.get("/events", **{"from": news["end"]})).ok()["chunk"]
    assert (left["room_id"], left["content"]["membership"]) == (room, "leave")
