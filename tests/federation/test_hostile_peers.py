"""Servers that lie: in invites, templates, joins, and in what they send and answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from federation.keys.documents import own_document
from federation.pdu_checks import PduChecks
from federation.storage.server_keys import KeyRow, put_keys
from homeserver.core.events import parse_pdu, sign_event
from homeserver.core.identifiers import ServerName
from homeserver.core.known_keys import is_known_key
from homeserver.core.signing import Signer, decode_base64, encode_base64
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.signing_key import WrongSigningKey, load_signer
from tests.kit.authority import Authority
from tests.kit.federation import signer_of
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def name_of(server: RunningServer) -> str:
    return server.hansa.config.server_name


async def joined(
    here: RunningServer, peer: Peer, version: str = "11", filled: Callable[[PeerRoom], object] | None = None
) -> tuple[Client, PeerRoom]:
    """Alice of ours in a room of the peer's; `filled` gives it more state before."""
    alice, room = await here.user("alice"), PeerRoom(peer, version)
    if filled is not None:
        filled(room)
    room.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    sent = next(body for method, path, body in peer.asked if method == "PUT" and "/send_join/" in path)
    room.take(parse_pdu(room.version, sent))
    return alice, room


async def texts(user: Client, room_id: str) -> list[str]:
    page = (await user.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    events = [event for event in reversed(page["chunk"]) if event["type"] == "m.room.message"]
    return [event["content"]["body"] for event in events if "body" in event["content"]]


# --- what we sign


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({}, 200),
        ({"type": "m.room.message"}, 400),
        ({"type": "m.room.power_levels", "state_key": ""}, 400),
        ({"content": {"membership": "join"}}, 400),
        ({"content": {"membership": "ban"}}, 400),
        ({"content": {}}, 400),
        ({"state_key": "@nobody:elsewhere.test"}, 400),
        ({"state_key": "@unknown:{here}"}, 404),
        ({"sender": "@bob:{here}"}, 403),
        ({"sender": "@eve:elsewhere.test"}, 403),
        ({"room_id": "!other:elsewhere.test"}, 400),
    ],
)
async def test_only_invites_to_users_of_ours_are_signed(
    here: RunningServer, peer: Peer, changes: dict[str, Any], status: int
) -> None:
    """T-A1: whatever else stands in an invite's place comes back without our signature."""
    bob = await here.user("bob")
    room = PeerRoom(peer)
    told: dict[str, Any] = json.loads(json.dumps(changes).replace("{here}", name_of(here)))
    event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
    pdu = {key: value for key, value in event.pdu.items() if key not in ("hashes", "signatures")} | told
    event = sign_event(room.version, pdu, peer.signer)
    path = f"{V2}/invite/{room.room_id}/{event.event_id}"
    answer = await peer.ask("PUT", name_of(here), path, {"room_version": "11", "event": event.pdu})
    assert answer.status == status, answer.body
    assert (name_of(here).encode() in answer.body and b"signatures" in answer.body) is (status == 200)


async def test_an_invite_is_the_one_that_its_path_names(here: RunningServer, peer: Peer) -> None:
    """T-A1: neither another event nor another room's."""
    bob, room = await here.user("bob"), PeerRoom(peer)
    event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
    other = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
    body = {"room_version": "11", "event": event.pdu}
    for room_id, event_id in ((room.room_id, other.event_id), ("!other:x.test", event.event_id)):
        assert (await peer.ask("PUT", name_of(here), f"{V2}/invite/{room_id}/{event_id}", body)).status == 400


async def test_an_invite_comes_from_its_senders_server(here: RunningServer, peer: Peer, authority: Authority) -> None:
    """T-A1: one that somebody else passes on, signed as it should be, is not signed."""
    bob = await here.user("bob")
    async with running_peer(authority) as other:
        room = PeerRoom(other)
        event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
        path, body = f"{V2}/invite/{room.room_id}/{event.event_id}", {"room_version": "11", "event": event.pdu}
        assert (await peer.ask("PUT", name_of(here), path, body)).status == 403
        assert (await other.ask("PUT", name_of(here), path, body)).status == 200


FORGED: dict[str, Any] = {
    "content": {"membership": "join", "displayname": "I was had", "is_direct": True},
    "origin_server_ts": 1,
    "unsigned": {"a": 1},
    "redacts": "$a",
    "origin": "elsewhere.test",
    "hashes": {"sha256": "x"},
    "anything": "else",
}


async def test_a_template_gives_the_place_alone(here: RunningServer, peer: Peer) -> None:
    """T-A2: of what make_join answers, the place in the graph is taken; the rest of what we sign is ours."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    room.answer_joins(alice.user_id, FORGED)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    sent = next(body for method, path, body in peer.asked if method == "PUT")
    assert sent["content"].get("displayname") != "I was had" and "is_direct" not in sent["content"]
    assert sent["origin_server_ts"] > 1_000
    assert sent.keys() <= {
        "type", "room_id", "sender", "state_key", "content", "origin_server_ts", "depth", "prev_events", "auth_events",
        "hashes", "signatures",
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {"type": "m.room.power_levels", "state_key": ""},
        {"type": "m.room.message"},
        {"sender": "@bob:{here}"},
        {"state_key": "@bob:{here}"},
    ],
)
async def test_a_template_of_something_else_is_not_signed(
    here: RunningServer, peer: Peer, changes: dict[str, Any]
) -> None:
    """T-A2: nothing leaves this server."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    told: dict[str, Any] = json.loads(json.dumps(changes).replace("{here}", name_of(here)))
    room.answer_joins(alice.user_id, told)
    answer = await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)
    assert answer.status == 502
    assert not [path for method, path, _ in peer.asked if method == "PUT"]


# --- what a join is told


@pytest.mark.parametrize("lie", ["unsigned", "another's", "changed", "other room", "malformed", "forbidden"])
async def test_a_room_is_told_by_events_that_stand_alone(here: RunningServer, peer: Peer, lie: str) -> None:
    """T-A3, T-A5, T-B6: each event that a join is answered with is checked as one that was sent; none keeps us out."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    topic = room.add("m.room.topic", {"topic": "true"}, "").pdu
    keys = {key: value for key, value in topic.items() if key not in ("hashes", "signatures")}
    if lie == "unsigned":
        wrong = {**topic, "signatures": {}}
    elif lie == "another's":
        forged = sign_event(room.version, {**keys, "sender": "@x:elsewhere.test"}, signer_of("elsewhere.test"))
        wrong = forged.pdu
    elif lie == "changed":
        wrong = {**topic, "content": {"topic": "false"}}
    elif lie == "other room":
        wrong = sign_event(room.version, {**keys, "room_id": f"!y:{peer.name}"}, peer.signer).pdu
    elif lie == "malformed":
        wrong = sign_event(room.version, {**keys, "depth": 2**60}, peer.signer).pdu
    else:
        sender = f"@mallory:{peer.name}"
        wrong = sign_event(room.version, {**keys, "sender": sender}, peer.signer).pdu
    told = room.told()
    told["state"] = [*(pdu for pdu in told["state"] if pdu is not topic), wrong]
    room.answer_joins(alice.user_id, told={"state": told["state"], "auth_chain": told["auth_chain"]})
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    found = await alice.get("/rooms/{}/state/m.room.topic", room.room_id)
    assert found.status == 404 or found.json.get("topic") in (None, ""), found.body


async def test_the_join_stays_as_it_was_sent(here: RunningServer, peer: Peer) -> None:
    """T-A3: a server that lets us in can't put other words into the event."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    other = room.make(
        "m.room.member", {"membership": "join", "displayname": "Had"}, alice.user_id, sender=alice.user_id
    )
    room.answer_joins(alice.user_id, told={"event": other.pdu})
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
    member = (await alice.get("/rooms/{}/state/m.room.member/{}", room.room_id, alice.user_id)).ok()
    assert member.get("displayname") != "Had"


async def test_the_rooms_version_is_that_of_its_create_event(here: RunningServer, peer: Peer) -> None:
    """T-A12: a template that names another leads nowhere; an invite's word counts until then only."""
    alice, room = await here.user("alice"), PeerRoom(peer, "10")
    room.answer_joins(alice.user_id)
    right = peer.answers[V1 + "/make_join"]
    peer.answers[V1 + "/make_join"] = lambda sent: {**right(sent), "room_version": "9"}
    answer = await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)
    assert answer.status == 502
    assert (await alice.get("/joined_rooms")).ok()["joined_rooms"] == []


# --- what is sent, and what is fetched


def lies(room: PeerRoom) -> dict[str, Any]:
    """Messages that no check of form, hash and signature lets through as they are."""
    good = room.make("m.room.message", {"msgtype": "m.text", "body": "forged"}).pdu
    keys = {key: value for key, value in good.items() if key not in ("hashes", "signatures")}
    stranger = signer_of("elsewhere.test")
    return {
        "unsigned": {**good, "signatures": {}},
        "garbled": {**good, "signatures": {room.peer.name: {room.peer.signer.key_id: "A" * 86}}},
        "by another key": sign_event(room.version, dict(keys), signer_of(room.peer.name, "other")).pdu,
        "by another server": sign_event(room.version, dict(keys), stranger).pdu,
        "in another's name": sign_event(room.version, {**keys, "sender": "@x:elsewhere.test"}, room.peer.signer).pdu,
        "changed": {**good, "content": {"msgtype": "m.text", "body": "forged anew"}},
    }


async def test_every_way_in_has_the_same_checks(here: RunningServer, peer: Peer) -> None:
    """T-A5, T-A6: pushed, or fetched as what is missing, what no server signed is nobody's word."""
    alice, room = await joined(here, peer)
    for lie, pdu in lies(room).items():
        body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [pdu], "edus": []}
        await peer.ask_json("PUT", name_of(here), f"{V1}/send/{lie.replace(' ', '_')}", body)
    between = lies(room)
    missing = room.make("m.room.message", {"msgtype": "m.text", "body": "true but unknown"})
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": [*between.values(), missing.pdu]}
    after = room.make("m.room.message", {"msgtype": "m.text", "body": "last"}, prev=[missing.event_id])
    await room.send(name_of(here), after)

    async def heard() -> bool:
        return "last" in await texts(alice, room.room_id)

    await until(heard)
    assert await texts(alice, room.room_id) == ["true but unknown", "last"]


async def test_the_past_does_not_come_in_as_news(here: RunningServer, peer: Peer) -> None:
    """T-E7: asked for what is missing, a peer that goes on to the room's beginning is heard as far as it was asked."""
    alice, room = await joined(here, peer)
    since = (await alice.sync())["next_batch"]
    old = room.make("m.room.message", {"msgtype": "m.text", "body": "old"}, prev=[list(room.events)[2]])
    past, known = [*room.events.values(), old], [event.event_id for event in room.state.values()]
    missing = room.text("missing")
    past.append(missing)
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": [event.pdu for event in past]}
    peer.answers[V1 + "/state_ids"] = lambda sent: {"pdu_ids": known, "auth_chain_ids": []}
    await room.send(name_of(here), room.text("last"))

    async def heard() -> bool:
        return "last" in await texts(alice, room.room_id)

    await until(heard)
    timeline = (await alice.sync(since=since))["rooms"]["join"][room.room_id]["timeline"]
    assert [event["content"]["body"] for event in timeline["events"]] == ["missing", "last"]


async def test_a_state_is_not_guessed(here: RunningServer, peer: Peer) -> None:
    """T-E7: the state after an event that can't be had isn't that before it: a change of it would be lost for good."""
    alice, room = await joined(here, peer)
    before = [event.event_id for event in room.state.values()]
    topic = room.add("m.room.topic", {"topic": "changed"}, "")
    peer.answers[V1 + "/get_missing_events"] = lambda sent: {"events": []}
    peer.answers[V1 + "/state_ids"] = lambda sent: {"pdu_ids": before, "auth_chain_ids": []}
    await room.send(name_of(here), room.make("m.room.message", {"msgtype": "m.text", "body": "too early"}))

    async def is_put_off() -> bool:
        return bool(await here.db.fetchval("SELECT count(*) FROM staged_pdus WHERE tries = 1"))

    await until(is_put_off)
    assert await texts(alice, room.room_id) == []
    peer.answers[V1 + "/event/"] = lambda sent: {"pdus": [topic.pdu]}
    await room.send(name_of(here), room.make("m.room.message", {"msgtype": "m.text", "body": "now"}))

    async def heard() -> bool:
        return "now" in await texts(alice, room.room_id)

    await until(heard)
    assert (await alice.get("/rooms/{}/state/m.room.topic", room.room_id)).ok()["topic"] == "changed"


async def test_a_state_that_is_not_all_there_is_asked_for_once(here: RunningServer, peer: Peer) -> None:
    """T-E7: an event whose auth chain has a hole is put off with all that follows it; nothing that cites the hole
    becomes state. A later try asks nearer to the event."""
    alice, room = await joined(here, peer)
    names = [room.add("m.room.topic", {"topic": str(number)}, "") for number in range(3)]
    withheld = room.make("m.room.member", {"membership": "join", "displayname": "withheld"}, room.eve)
    levels = [room.state["m.room.create", ""].event_id, room.state["m.room.power_levels", ""].event_id]
    last = room.make(
        "m.room.member",
        {"membership": "join", "displayname": "stands on it"},
        room.eve,
        prev=[withheld.event_id],
        auth=[*levels, withheld.event_id],
    )
    room.take(last)
    far, near, sent = room.text("far"), room.text("near"), room.text("sent")
    told = [event.event_id for event in room.state.values()]
    asked: list[str] = []

    def state_ids(query: dict[str, str]) -> dict[str, Any]:
        asked.append(query["event_id"])
        return {"pdu_ids": told, "auth_chain_ids": [withheld.event_id]}

    known = {str(event.event_id): event.pdu for event in (*names, last, far, near)}
    peer.answers[V1 + "/get_missing_events"] = lambda body: {"events": [near.pdu]}
    peer.answers[V1 + "/state_ids"] = state_ids
    peer.answers[V1 + "/event/"] = lambda body: {"pdus": [known[peer.asked[-1][1].rsplit("/", 1)[1]]]}
    await room.send(name_of(here), sent)

    async def is_put_off() -> bool:
        return bool(await here.db.fetchval("SELECT count(*) FROM staged_pdus WHERE tries = 1"))

    await until(is_put_off, within_s=30)
    assert set(asked) == {far.event_id}
    assert await texts(alice, room.room_id) == []
    assert (await alice.get("/rooms/{}/state/m.room.member/{}", room.room_id, room.eve)).ok() == {"membership": "join"}
    await room.send(name_of(here), sent)  # takes it up again at once

    async def is_asked_nearer() -> bool:
        return near.event_id in asked

    await until(is_asked_nearer, within_s=30)


async def test_what_is_read_back_has_the_same_checks(here: RunningServer, peer: Peer) -> None:
    """T-A6: backfill too."""
    peer.answers[V1 + "/backfill"] = lambda sent: {"pdus": [*lies(past).values(), past.events[old].pdu]}
    alice = await here.user("alice")
    past = PeerRoom(peer)
    old = past.text("true and old").event_id
    past.answer_joins(alice.user_id)
    (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", past.room_id)).ok()
    assert await texts(alice, past.room_id) == ["true and old"]


# --- EDUs


async def test_edus_speak_for_their_own_server(here: RunningServer, peer: Peer) -> None:
    """T-A18: of each kind, one in another's name is dropped; beside it the server's own counts."""
    alice, room = await joined(here, peer)
    said = room.text("hello")
    await room.send(name_of(here), said)
    bob = await here.user("bob")
    (await bob.post(f"/join/{{}}?via={peer.name}", room.room_id)).ok()

    async def heard() -> bool:
        return "hello" in await texts(alice, room.room_id)

    await until(heard)

    def edus(user_id: str) -> list[dict[str, Any]]:
        read = {"m.read": {user_id: {"event_ids": [said.event_id], "data": {"ts": 1}}}}
        message = {
            "sender": user_id,
            "type": "m.x",
            "message_id": user_id,
            "messages": {alice.user_id: {"*": {"by": user_id}}},
        }
        presence = {"user_id": user_id, "presence": "online", "status_msg": "edu"}
        return [
            {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": user_id, "typing": True}},
            {"edu_type": "m.receipt", "content": {room.room_id: read}},
            {"edu_type": "m.direct_to_device", "content": message},
            {"edu_type": "m.presence", "content": {"push": [presence]}},
        ]

    await room.send(name_of(here), edus=[*edus(bob.user_id), *edus("@x:elsewhere.test"), *edus(room.eve)])
    synced = await alice.sync()
    ephemeral = synced["rooms"]["join"][room.room_id]["ephemeral"]["events"]
    typing = next(event["content"] for event in ephemeral if event["type"] == "m.typing")
    receipts = next(event["content"] for event in ephemeral if event["type"] == "m.receipt")
    assert typing["user_ids"] == [room.eve]
    assert list(receipts[said.event_id]["m.read"]) == [room.eve]
    assert [event["sender"] for event in synced["to_device"]["events"]] == [room.eve]
    assert (await alice.get("/presence/{}/status", bob.user_id)).ok().get("status_msg") is None


# --- keys that anybody has


KNOWN_SEEDS = [
    bytes(32),
    b"\xff" * 32,
    bytes(range(32)),
    bytes(range(255, 223, -1)),
    decode_base64("YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"),
    hashlib.sha256(b"").digest(),
]


@pytest.mark.parametrize("seed", KNOWN_SEEDS, ids=bytes.hex)
def test_no_server_of_ours_starts_with_a_known_key(tmp_path: Path, seed: bytes) -> None:
    """T-A8: one of a specification's examples, or of a generator that isn't one."""
    file = tmp_path / "key"
    file.write_text(f"ed25519 a_1 {encode_base64(seed)}\n")
    file.chmod(0o600)
    with pytest.raises(WrongSigningKey):
        load_signer(file, ServerName("a.test"), SystemRandomness())
    file.write_text(f"ed25519 a_1 {encode_base64(hashlib.sha256(b'ours').digest())}\n")
    assert load_signer(file, ServerName("a.test"), SystemRandomness()).key_id == "ed25519:a_1"


@pytest.mark.parametrize("seed", KNOWN_SEEDS, ids=bytes.hex)
async def test_nobody_is_believed_by_a_known_key(here: RunningServer, peer: Peer, seed: bytes) -> None:
    """T-A8: neither a request nor an event; the document that lists such a key counts for nothing."""
    peer.signer = Signer(peer.name, "ed25519:known", seed)
    peer.keys = own_document(peer.signer, [], SystemClock().now_ms() + 86_400_000)
    target = "/_matrix/federation/v1/query/profile?user_id=@x:y"
    assert (await peer.ask("GET", name_of(here), target)).status == 401
    assert here.hansa.federation is not None
    event = PeerRoom(peer).text("hello")
    checked = await PduChecks(here.hansa.federation.keys).check_one(event.version, event.pdu)
    assert isinstance(checked, str) and "signature" in checked


async def test_a_key_that_was_stored_before_it_was_known(here: RunningServer, peer: Peer) -> None:
    """T-A8: is believed no more; nor one that a deployment tool gave to many."""
    async with here.hansa.world.db.transaction() as tx:
        until_ms = SystemClock().now_ms() + 86_400_000
        peer.signer = Signer(peer.name, "ed25519:known", KNOWN_SEEDS[0])
        peer.keys = {}
        await put_keys(tx, [KeyRow(peer.name, peer.signer.key_id, peer.signer.verify_key, until_ms, False)])
    target = "/_matrix/federation/v1/query/profile?user_id=@x:y"
    assert (await peer.ask("GET", name_of(here), target)).status == 401
    assert is_known_key(decode_base64("l/O9hxMVKB6Lg+3Hqf0FQQZhVESQcMzbPN1Cz2nM3og="))
