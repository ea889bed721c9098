"""What a server that signs well may still say: events of no form, false places in the graph, odd state, claims beside
them. All of it comes as it would from another server, by requests that are signed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.events import Event, sign_event
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.federation.test_odd_events import heard
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

Json = dict[str, Any]


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def resigned(room: PeerRoom, event: Event, **changes: Any) -> Event:
    """The same with other fields, hashed and signed as it should be."""
    kept = {key: value for key, value in event.pdu.items() if key not in ("hashes", "signatures")}
    return sign_event(room.version, {**kept, **changes}, room.peer.signer)


async def stored(here: RunningServer, events: list[Event]) -> list[str]:
    names = [event.event_id for event in events]
    found = await here.db.fetch(
        "SELECT event_id FROM events WHERE event_id = ANY($1) "
        "UNION ALL SELECT event_id FROM staged_pdus WHERE event_id = ANY($1)",
        names,
    )
    return [row["event_id"] for row in found]


def ill_formed(room: PeerRoom) -> dict[str, Event]:
    """Each with one fault alone: hashes and signatures are right, and its sender may say it."""
    good = room.make("m.room.message", {"msgtype": "m.text", "body": "ill"})
    head, create = room.heads[0], room.state["m.room.create", ""].event_id
    changes: dict[str, Json] = {
        "depth too large": {"depth": 2**53},
        "depth below nought": {"depth": -1},
        "depth a bool": {"depth": True},
        "time too large": {"origin_server_ts": 2**53},
        "number too large": {"content": {"body": "ill", "n": 2**53}},
        "float": {"content": {"body": "ill", "n": 1.5}},
        "too many bytes": {"content": {"body": "ä" * 32_768}},
        "long type": {"type": "m." + "x" * 254},
        "type of many bytes": {"type": "ä" * 128},
        "long state key": {"type": "m.x", "state_key": "x" * 256},
        "NUL in the type": {"type": "m.\x00"},
        "NUL in the state key": {"type": "m.x", "state_key": "\x00"},
        "21 before it": {"prev_events": [head] * 21},
        "deep": {"content": {"body": "ill", "x": nested(150)}},
        "11 that allow it": {"auth_events": [*good.auth_event_ids, *[create] * 10]},
    }
    return {name: resigned(room, good, **change) for name, change in changes.items()}


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_events_of_no_form_are_not_taken(here: RunningServer, peer: Peer, version: str) -> None:
    """T-B1, T-B4, T-B15, T-B17, T-B18, T-B21: neither stored nor waited for, however well they are signed; and what
    comes beside them is."""
    alice, room = await joined(here, peer, version)
    bad = ill_formed(room)
    if version == "6":
        del bad["type of many bytes"]  # counted in characters before version 11
    for name, event in bad.items():
        good = room.text(f"beside {name}")
        answer = await room.send(name_of(here), event, good)
        assert answer.get(good.event_id) == {}, name
        assert answer.get(event.event_id) != {}, name
    await heard(here, alice, room)
    assert await texts(alice, room.room_id) == [*(f"beside {name}" for name in bad), "the last word"]
    assert await stored(here, list(bad.values())) == []


async def test_what_one_server_takes_of_its_users_others_take_too(here: RunningServer, there: RunningServer) -> None:
    """T-E5, T-B4, T-B18: an event as deep as a request may be stops no queue, whatever stands around it on its way."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    (await bob.post(f"/join/{{}}?via={name_of(here)}&server_name={name_of(here)}", room_id)).ok()
    refused = await alice.put("/rooms/{}/send/m.deep/{}", room_id, "deeper", body={"x": nested(100)})
    refused.refused(400, "M_BAD_JSON")
    sent = (await alice.put("/rooms/{}/send/m.deep/{}", room_id, "deep", body={"x": nested(99)})).ok()["event_id"]
    await alice.send(room_id, "after it")
    await until_said(bob, room_id, "after it")
    assert (await bob.get("/rooms/{}/event/{}", room_id, sent)).ok()["content"] == {"x": nested(99)}


async def test_what_was_changed_on_its_way_is_shown_without_its_content(here: RunningServer, peer: Peer) -> None:
    """T-B25: to our users, and to servers that ask for it."""
    alice, room = await joined(here, peer)
    good = room.text("as it was said")
    changed = {**good.pdu, "content": {"msgtype": "m.text", "body": "as somebody else wants it"}}
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": [changed], "edus": []}
    answer = await peer.ask_json("PUT", name_of(here), V1 + "/send/changed", body)
    assert answer["pdus"] == {good.event_id: {}}
    await heard(here, alice, room)
    assert (await alice.get("/rooms/{}/event/{}", room.room_id, good.event_id)).ok()["content"] == {}
    told = await peer.ask_json("GET", name_of(here), f"{V1}/event/{good.event_id}")
    assert told["pdus"][0]["content"] == {}
    assert "somebody else" not in str((await alice.sync())["rooms"])


SPOOFED: Json = {
    "redacted_because": {"type": "m.room.redaction", "sender": "@x:y", "content": {}, "event_id": "$x"},
    "transaction_id": "spoofed",
    "prev_content": {"topic": "spoofed"},
    "prev_sender": "@spoofed:x.test",
    "replaces_state": "$spoofed",
    "m.relations": {"m.replace": {"event_id": "$spoofed", "content": {"body": "spoofed"}}},
    "membership": "ban",
    "age": 10**15,
    "invite_room_state": [{"type": "m.room.name", "state_key": "", "sender": "@s:x", "content": {"name": "spoofed"}}],
    "knock_room_state": [],
    "org.example": "spoofed",
}


async def test_what_servers_say_beside_an_event_is_not_believed(here: RunningServer, peer: Peer) -> None:
    """T-B23: `unsigned` is nobody's signed word, on any way that an event comes to a client."""
    alice, room = await joined(here, peer)
    since = (await alice.sync())["next_batch"]
    said = room.text("hello")
    topic = room.add("m.room.topic", {"topic": "true"}, "")
    pdus = [{**event.pdu, "unsigned": SPOOFED} for event in (said, topic)]
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": pdus, "edus": []}
    await peer.ask_json("PUT", name_of(here), V1 + "/send/spoofed", body)
    await heard(here, alice, room)
    shown: list[Json] = [
        *(await alice.sync(since=since))["rooms"]["join"][room.room_id]["timeline"]["events"],
        *(await alice.get("/rooms/{}/messages", room.room_id, dir="b")).ok()["chunk"],
        *(await alice.get("/rooms/{}/state", room.room_id)).ok(),
        (await alice.get("/rooms/{}/event/{}", room.room_id, said.event_id)).ok(),
        (await alice.get("/rooms/{}/context/{}", room.room_id, said.event_id)).ok()["event"],
    ]
    kept = await here.db.fetch("SELECT json FROM events WHERE event_id = ANY($1)", [said.event_id, topic.event_id])
    assert [b"unsigned" in row["json"] for row in kept] == [False, False]
    mine = [event for event in shown if event["event_id"] in (said.event_id, topic.event_id)]
    assert len(mine) == 7
    for event in mine:
        unsigned = event.get("unsigned", {})
        assert "spoofed" not in str(event) and "redacted_because" not in unsigned, event
        assert unsigned.get("age", 0) < 10**12
        assert unsigned.get("membership", "join") == "join"


def state_told(*contents: Any) -> list[Any]:
    return [{"type": "m.room.name", "state_key": "", "sender": "@e:x.test", "content": one} for one in contents]


INVITED: list[Any] = [
    "text", 5, {"a": []}, [None, 5, "x", [], {}], [{"type": 5}], [[[[]]]], state_told(None, [], "x", 7),
    state_told({"name": 5}, {"name": {"a": "b"}}, {"name": None}), [{**state_told({})[0], "state_key": 5}],
    [{**state_told({})[0], "sender": ["@x:y"]}],
    [{**state_told({"room_version": 5})[0], "type": "m.room.create", "origin_server_ts": "x"}],
    state_told(*[{"name": "x" * 1_000}] * 1_500), state_told({"name": "x" * 600_000}, {"name": "after"}),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("api", [V1, V2])
async def test_what_an_invite_tells_of_its_room_spoils_no_sync(here: RunningServer, peer: Peer, api: str) -> None:
    """T-B7, T-B8, T-B9: of a wrong type or too much, it is refused or told as far as it is right, in both syncs."""
    bob = await here.user("bob")
    for number, told in enumerate(INVITED):
        room = PeerRoom(peer)
        room.room_id = f"!invited{number}:{peer.name}"
        event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
        path = f"{api}/invite/{room.room_id}/{event.event_id}"
        body = (
            {**event.pdu, "unsigned": {"invite_room_state": told}}
            if api == V1
            else {"room_version": "11", "event": event.pdu, "invite_room_state": told}
        )
        answer = await peer.ask("PUT", name_of(here), path, body)
        assert answer.status in (200, 400, 413), (answer.status, answer.body)
        invited = (await bob.sync())["rooms"].get("invite", {}) if answer.status == 200 else {}
        if answer.status == 200:
            events = invited[room.room_id]["invite_state"]["events"]
            assert len(events) <= 101 and len(str(events)) < 300_000
            assert all(isinstance(one["content"], dict) and isinstance(one["state_key"], str) for one in events)
    room = PeerRoom(peer)
    event = room.make("m.room.member", {"membership": "invite"}, bob.user_id)
    body = {"room_version": "11", "event": event.pdu, "invite_room_state": state_told({"name": "Right"})}
    assert (await peer.ask("PUT", name_of(here), f"{V2}/invite/{room.room_id}/{event.event_id}", body)).status == 200
    assert "Right" in str((await bob.sync())["rooms"]["invite"][room.room_id])
    lists = {"lists": {"all": {"ranges": [[0, 99]], "timeline_limit": 1, "required_state": [["*", "*"]]}}}
    sliding = await bob.request("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", body=lists)
    rooms = sliding.ok()["rooms"]
    assert "Right" in str(rooms[room.room_id]["invite_state"])
    assert all(isinstance(one.get("name", ""), str) for one in rooms.values())


ODD_STATE: list[tuple[str, Any]] = [
    ("m.room.join_rules", {"join_rule": "org.example.unknown"}),
    ("m.room.join_rules", {"join_rule": 7}),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": "x"}),
    ("m.room.join_rules", {"join_rule": "restricted", "allow": [5, {"type": "m.room_membership", "room_id": 5}]}),
    ("m.room.history_visibility", {"history_visibility": ["shared"]}),
    ("m.room.history_visibility", {"history_visibility": "org.example.unknown"}),
    ("m.room.guest_access", {"guest_access": 5}),
    ("m.room.name", {"name": ["x"]}),
    ("m.room.topic", {"topic": 5, "m.topic": "x"}),
    ("m.room.topic", {"topic": None, "m.topic": {"m.text": [5]}}),
    ("m.room.avatar", {"url": 5}),
    ("m.room.canonical_alias", {"alias": 5, "alt_aliases": "x"}),
    ("m.room.pinned_events", {"pinned": 5}),
    ("m.room.encryption", {"algorithm": 5, "rotation_period_ms": "x"}),
    ("m.room.tombstone", {"replacement_room": 5, "body": []}),
    ("m.space.child", {"via": 5, "order": []}),
    ("m.space.child", {"via": [5], "suggested": "x"}),
    ("m.space.parent", {"canonical": 5}),
    ("m.room.retention", {"max_lifetime": "x", "min_lifetime": []}),
    ("m.room.server_acl", {"allow": ["*"], "deny": 5, "allow_ip_literals": "x"}),
    ("m.room.third_party_invite", {"public_keys": 5, "display_name": []}),
    ("m.room.policy", {"via": 5, "public_key": []}),
]


@pytest.mark.slow
async def test_odd_state_of_others_spoils_nothing(here: RunningServer, peer: Peer) -> None:
    """T-B10, T-B13, T-B7, T-B9, T-G4: what state may say by the rules of a room breaks no answer about it."""

    def fill(room: PeerRoom) -> None:
        create = {"room_version": "11", "predecessor": "!old:x.test", "type": 5, "m.federate": True}
        room.state.clear()
        room.heads, room.depth = [], 0
        room.add("m.room.create", create, "", auth=[])
        room.add("m.room.member", {"membership": "join", "displayname": 5, "avatar_url": []}, room.eve)
        room.add("m.room.power_levels", {"users": {room.eve: 100}, "notifications": {"room": 50}}, "")
        room.add("m.room.join_rules", {"join_rule": "public", "allow": 5}, "")

    alice, room = await joined(here, peer, filled=fill)
    other = await alice.create_room()
    await reads_of(alice, room.room_id)
    for kind, content in ODD_STATE:
        await room.send(name_of(here), room.add(kind, content, other if kind.startswith("m.space") else ""))
        said = room.text(f"after {kind}")
        await room.send(name_of(here), said)
        await reads_of(alice, room.room_id, said)
    assert await texts(alice, room.room_id) == [f"after {kind}" for kind, _ in ODD_STATE]
    await alice.send(other, "goes on")
    (await alice.post("/rooms/{}/leave", room.room_id)).ok()
    assert room.room_id not in (await alice.sync())["rooms"].get("join", {})


async def until_said(alice: Client, room_id: str, body: str) -> None:
    async def is_said() -> bool:
        return body in await texts(alice, room_id)

    await until(is_said)


async def reads_of(alice: Client, room_id: str, last: Event | None = None) -> None:
    """Every way to look at a room answers."""
    if last is not None:
        await until_said(alice, room_id, last.content["body"])
    (await alice.sync())["rooms"]["join"][room_id]
    for path in ("state", "members", "joined_members", "messages", "aliases"):
        assert (await alice.get("/rooms/{}/" + path, room_id, dir="b")).status == 200, path
    v1 = "/_matrix/client/v1"
    for target in (f"/rooms/{room_id}/hierarchy", f"/rooms/{room_id}/threads", f"/room_summary/{room_id}"):
        assert (await alice.request("GET", v1 + target)).status == 200, target
    lists = {"lists": {"all": {"ranges": [[0, 9]], "timeline_limit": 5, "required_state": [["*", "*"]]}}}
    answer = await alice.request("POST", "/_matrix/client/unstable/org.matrix.simplified_msc3575/sync", body=lists)
    assert room_id in answer.ok()["rooms"]
    words = {"search_categories": {"room_events": {"search_term": "after", "include_state": True}}}
    (await alice.post("/search", body=words)).ok()
