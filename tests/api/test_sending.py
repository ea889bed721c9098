"""Messages, state and redactions over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.kit.server import Client, RunningServer, running_server

SEND = "/rooms/{}/send/{}/{}"
STATE = "/rooms/{}/state/{}/{}"
NUL_REACTION = b'{"m.relates_to": {"rel_type": "m.annotation", "event_id": "$\\u0000", "key": "k"}}'


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as running:
        yield running


async def timeline(client: Client, room: str) -> list[Any]:
    found: list[Any] = (await client.get("/rooms/{}/messages", room, dir="f", limit=100)).ok()["chunk"]
    return found


async def test_a_transaction_is_one_event(server: RunningServer) -> None:
    alice = await server.user("alice")
    phone = await server.login("alice")
    room = await alice.create_room()
    body = {"msgtype": "m.text", "body": "once"}
    first, *repeats = await asyncio.gather(
        *(alice.put(SEND, room, "m.room.message", "t1", body=body) for _ in range(5))
    )
    assert {answer.ok()["event_id"] for answer in repeats} == {first.ok()["event_id"]}
    others = [
        (phone, "m.room.message", "t1"),
        (alice, "m.room.other", "t1"),
        (alice, "m.room.message", "t2"),
    ]
    ids = {(await client.put(SEND, room, kind, txn, body=body)).ok()["event_id"] for client, kind, txn in others}
    assert len(ids - {first.ok()["event_id"]}) == 3
    assert sum(event["content"] == body for event in await timeline(alice, room)) == 4


@pytest.mark.parametrize(
    ("kind", "txn", "data", "status", "errcode"),
    [
        ("m.room.message", "t", b'{"body": "' + b"x" * 65_536 + b'"}', 413, "M_TOO_LARGE"),
        ("m.room.message", "t", b'{"n": 1.5}', 400, "M_BAD_JSON"),
        ("m.room.message", "t", b'{"n": 9007199254740992}', 400, "M_BAD_JSON"),
        ("m.room.message", "t", b"[]", 400, "M_BAD_JSON"),
        ("m.room.message", "t", b"{", 400, "M_NOT_JSON"),
        ("m.room.message", "t" * 256, b"{}", 400, "M_INVALID_PARAM"),
        ("k" * 256, "t", b"{}", 413, "M_TOO_LARGE"),
        ("m.room.member", "t", b'{"membership": "join"}', 400, "M_INVALID_PARAM"),
        ("m.room.create", "t", b"{}", 400, "M_INVALID_PARAM"),
        ("m.room.redaction", "t", b"{}", 400, "M_INVALID_PARAM"),
        ("m.room.redaction", "t", b'{"redacts": ["$a"]}', 400, "M_INVALID_PARAM"),
        ("m.room.redaction", "t", b'{"redacts": "$unknown"}', 404, "M_NOT_FOUND"),
        ("m.room.message", "t", b'{"m.relates_to": {"rel_type": [], "event_id": {}, "key": 1}}', 200, None),
        ("m.reaction", "t", NUL_REACTION, 200, None),
    ],
)
async def test_odd_messages(
    server: RunningServer, kind: str, txn: str, data: bytes, status: int, errcode: str | None
) -> None:
    alice = await server.user("alice")
    room = await alice.create_room()
    answer = await alice.request("PUT", SEND, room, kind, txn, data=data)
    assert (answer.status, answer.json.get("errcode")) == (status, errcode), answer.body


async def test_only_members_send(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(invite=[bob.user_id])
    for target in (room, "!nowhere:hansa.test"):
        (await bob.put(SEND, target, "m.room.message", "t", body={})).refused(403, "M_FORBIDDEN")
        (await bob.put(STATE, target, "m.room.name", "", body={"name": "x"})).refused(403, "M_FORBIDDEN")


async def test_timestamps_are_the_servers(server: RunningServer) -> None:
    """T-H10: `ts` is for bridges alone."""
    alice = await server.user("alice")
    room = await alice.create_room()
    for path in (SEND.format(room, "m.room.message", "t"), STATE.format(room, "m.room.name", "")):
        answer = await alice.request("PUT", path, body={"name": "x"}, query={"ts": 12345})
        event = (await alice.get("/rooms/{}/event/{}", room, answer.ok()["event_id"])).ok()
        assert event["origin_server_ts"] > 1_000_000


async def test_annotations_are_not_repeated(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    target = await alice.send(room)

    async def react(client: Client, txn: str, key: str = "+1") -> Any:
        relation = {"rel_type": "m.annotation", "event_id": target, "key": key}
        return await client.put(SEND, room, "m.reaction", txn, body={"m.relates_to": relation})

    first = (await react(alice, "a")).ok()
    assert (await react(alice, "a")).ok() == first
    (await react(alice, "b")).refused(400, "M_DUPLICATE_ANNOTATION")
    (await react(alice, "c", "heart")).ok()
    (await react(bob, "a")).ok()
    (await alice.put("/rooms/{}/redact/{}/{}", room, first["event_id"], "r")).ok()
    (await react(alice, "d")).ok()
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": first["event_id"]}}
    (await alice.put(SEND, room, "m.room.message", "e", body=thread)).ok()  # redacted: it relates to nothing
    answer = (await react(bob, "x", "y")).ok()["event_id"]
    thread = {"m.relates_to": {"rel_type": "m.thread", "event_id": answer}}
    (await alice.put(SEND, room, "m.room.message", "f", body=thread)).refused(400, "M_UNKNOWN")


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
@pytest.mark.parametrize("by_send", [False, True])
async def test_redactions(server: RunningServer, version: str, by_send: bool) -> None:
    """T-C14: one's own events, and those of others with the power; T-C10: never the create event."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(room_version=version, preset="public_chat")
    await bob.join(room)
    elsewhere = await bob.create_room()
    counter = iter(range(100))

    async def redact(client: Client, event_id: str) -> Any:
        txn = f"r{next(counter)}"
        if by_send:
            body = {"redacts": event_id, "reason": "why"}
            return await client.put(SEND, room, "m.room.redaction", txn, body=body)
        return await client.put("/rooms/{}/redact/{}/{}", room, event_id, txn, body={"reason": "why"})

    hers, his = await alice.send(room, "hers"), await bob.send(room, "his")
    (await redact(bob, hers)).refused(403, "M_FORBIDDEN")
    (await redact(bob, await bob.send(elsewhere))).refused(404, "M_NOT_FOUND")
    (await redact(alice, (await timeline(alice, room))[0]["event_id"])).refused(403, "M_FORBIDDEN")
    answer = (await redact(bob, his)).ok()
    (await redact(alice, await bob.send(room, "more"))).ok()
    event = (await alice.get("/rooms/{}/event/{}", room, his)).ok()
    assert event["content"] == {}
    assert event["unsigned"]["redacted_because"]["event_id"] == answer["event_id"]
    redaction = (await alice.get("/rooms/{}/event/{}", room, answer["event_id"])).ok()
    assert (redaction["redacts"], redaction["content"]) == (his, {"redacts": his, "reason": "why"})


async def test_a_redaction_is_no_state(server: RunningServer) -> None:
    """T-C14: as such it would ask nobody's leave, and other servers apply it to what any user of the sender's said."""
    alice, bob = await server.user("alice"), await server.user("bob")
    levels = {"events": {"m.room.redaction": 0}}
    room = await alice.create_room(room_version="11", preset="public_chat", power_level_content_override=levels)
    await bob.join(room)
    redaction = {"redacts": await alice.send(room, "hers")}
    (await bob.put(STATE, room, "m.room.redaction", "", body=redaction)).refused(400, "M_INVALID_PARAM")
    (await bob.put(STATE, room, "m.room.redaction", "x", body=redaction)).refused(400, "M_INVALID_PARAM")


async def test_state(server: RunningServer) -> None:
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    room = await alice.create_room(preset="public_chat", power_level_content_override={"events": {"org.open": 0}})
    await bob.join(room)
    (await alice.put("/rooms/{}/state/{}", room, "m.room.name", body={"name": "a"})).ok()
    for path in ("/rooms/{}/state/m.room.name", "/rooms/{}/state/m.room.name/"):
        assert (await bob.get(path, room)).ok() == {"name": "a"}
    first = (await alice.put("/rooms/{}/state/m.room.name/", room, body={"name": "b"})).ok()
    assert (await alice.put("/rooms/{}/state/m.room.name", room, body={"name": "b"})).ok() == first
    event = (await bob.get("/rooms/{}/state/m.room.name", room, format="event")).ok()
    assert (event["event_id"], event["room_id"], event["content"]) == (first["event_id"], room, {"name": "b"})
    assert event["unsigned"]["prev_content"] == {"name": "a"}
    (await bob.get("/rooms/{}/state/m.room.name", room, format="odd")).refused(400, "M_INVALID_PARAM")
    (await bob.get("/rooms/{}/state/m.room.topic", room)).refused(404, "M_NOT_FOUND")
    (await bob.get("/rooms/{}/state/m.room.name/key", room)).refused(404, "M_NOT_FOUND")
    (await carol.get("/rooms/{}/state/m.room.name", "!nowhere:hansa.test")).refused(403, "M_FORBIDDEN")
    (await bob.put(STATE, room, "m.room.name", "", body={"name": "c"})).refused(403, "M_FORBIDDEN")
    (await bob.put(STATE, room, "org.open", alice.user_id, body={})).refused(403, "M_FORBIDDEN")
    (await bob.put(STATE, room, "org.open", "a/b c", body={"n": 1})).ok()
    assert (await alice.get(STATE, room, "org.open", "a/b c")).ok() == {"n": 1}
    (await alice.put(STATE, room, "m.room.create", "", body={})).refused(400, "M_BAD_STATE")


async def test_who_left_sees_the_room_as_it_was(server: RunningServer) -> None:
    """T-G7: all state is read through one gate, and ends where the membership did."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat", name="before")
    await bob.join(room)
    (await bob.post("/rooms/{}/leave", room)).ok()
    (await alice.put("/rooms/{}/state/m.room.name", room, body={"name": "after"})).ok()
    assert (await bob.get("/rooms/{}/state/m.room.name", room)).ok() == {"name": "before"}
    events = (await bob.get("/rooms/{}/state", room)).ok()
    assert {"name": "before"} in [event["content"] for event in events]
    assert {"name": "after"} not in [event["content"] for event in events]


ODD_LEVELS: list[Any] = [
    {"events": []},
    {"users": []},
    {"state_default": "x"},
    {"users": {"x": 1}},
    {"events": {"a": []}},
    {"events": {"m.room.tombstone": None}},
    {"state_default": 2**60},
]
ODD_BODIES: list[Any] = [
    {"initial_state": {}},
    {"invite": "x"},
    {"creation_content": []},
    {"creation_content": {"type": 1, "predecessor": 7}},
    {"name": 1},
    *({"power_level_content_override": levels} for levels in ODD_LEVELS),
]


@pytest.mark.parametrize("version", ["1", "12"])
async def test_odd_rooms_are_the_callers_fault(server: RunningServer, version: str) -> None:
    """T-H6: never a 5xx, for what is made of such a room neither."""
    alice = await server.user("alice")
    for body in ODD_BODIES:
        answer = await alice.post("/createRoom", body={"room_version": version, "visibility": "public", **body})
        assert answer.status < 500, (body, answer.body)
        if answer.status == 200:
            room = answer.json["room_id"]
            assert (await alice.post("/rooms/{}/upgrade", room, body={"new_version": "12"})).status < 500
    (await alice.get("/publicRooms")).ok()


@pytest.mark.slow
async def test_content_is_checked_where_that_is_wished(database_dsn: str) -> None:
    """T-P4: on every way that an event is sent; without the option nothing is refused."""
    broken = {"m.relates_to": {"rel_type": "m.reference", "event_id": "$e"}, "m.location": {"uri": 1}}
    for toml, is_checked in (("[rooms]\ncheck_content = true\n", True), ("", False)):
        async with running_server(database_dsn, toml=toml) as server:
            alice = await (server.login("alice") if not is_checked else server.user("alice"))
            room = await alice.create_room(name="Harbour", topic="Ships")
            answers = [
                await alice.put(SEND, room, "m.beacon", "t1", body=broken),
                await alice.put(STATE, room, "m.room.name", "", body={"name": 1}),
                await alice.post(
                    "/createRoom", body={"initial_state": [{"type": "m.room.topic", "content": {"topic": 1}}]}
                ),
            ]
            for answer in answers:
                assert answer.status == (400 if is_checked else 200), answer
            await alice.send(room, "moin")


async def test_a_transaction_is_one_event_after_a_restart(database_dsn: str) -> None:
    """Whoever got no answer before asks the server that has started since."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room = await alice.create_room()
        body = {"msgtype": "m.text", "body": "once"}
        sent = (await alice.put(SEND, room, "m.room.message", "t1", body=body)).ok()["event_id"]
        token = alice.token
    async with running_server(database_dsn) as server:
        alice = server.anonymous()
        alice.token = token
        repeats = await asyncio.gather(*(alice.put(SEND, room, "m.room.message", "t1", body=body) for _ in range(3)))
        assert {answer.ok()["event_id"] for answer in repeats} == {sent}
        assert [event["event_id"] for event in await timeline(alice, room)].count(sent) == 1
