"""Mutated events, EDUs, queries and answers of other servers: an answer of the spec, never a 500, and life goes on."""

from __future__ import annotations

import copy
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from federation.request_signing import authorization_header
from homeserver.core.events import sign_event
from tests.federation.test_hostile_peers import joined, name_of, texts
from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, V2, PeerRoom
from tests.kit.server import RunningServer
from tests.kit.until import until

JUNK: list[Any] = [
    None, True, 0, -1, 2**53, -(2**53), 1.5, "", "x", "\x00", "\ud7ff", "$" * 300, "@a:b", "!a:b", "$a", [], {}, [[]],
    [None], {"": None}, {"a": {"b": {}}}, ["$" + "a" * 43], {"@a:b": 5}, "a" * 70_000, [0] * 200,
]  # fmt: skip


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


def mutated(value: Any, chance: random.Random) -> Any:
    """A copy with one to three places changed, taken away, or doubled."""
    changed = copy.deepcopy(value)
    for _ in range(chance.randint(1, 3)):
        place = changed
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = chance.choice(keys)
            if isinstance(place[key], (dict, list)) and place[key] and chance.random() < 0.7:
                place = place[key]
                continue
            kind = chance.random()
            if kind < 0.7:
                place[key] = copy.deepcopy(chance.choice(JUNK))
            elif kind < 0.85:
                del place[key]
            elif isinstance(place, list):
                place.append(copy.deepcopy(place[key]))
            else:
                place[f"{key}x"] = place[key]
            break
    return changed


def edus_of(room: PeerRoom, user_id: str) -> list[Any]:
    """One of each kind, as it should be."""
    read = {"m.read": {room.eve: {"event_ids": [room.heads[0]], "data": {"ts": 1, "thread_id": "main"}}}}
    keys = {"user_id": room.eve, "device_id": "D", "algorithms": [], "keys": {}, "signatures": {}}
    device = {"user_id": room.eve, "device_id": "D", "stream_id": 1, "prev_id": [], "keys": keys, "deleted": False}
    message = {"sender": room.eve, "type": "m.x", "message_id": "1", "messages": {user_id: {"*": {"a": 1}}}}
    presence = {"push": [{"user_id": room.eve, "presence": "online", "last_active_ago": 5, "status_msg": "x"}]}
    return [
        {"edu_type": "m.typing", "content": {"room_id": room.room_id, "user_id": room.eve, "typing": True}},
        {"edu_type": "m.receipt", "content": {room.room_id: read}},
        {"edu_type": "m.presence", "content": presence},
        {"edu_type": "m.direct_to_device", "content": message},
        {"edu_type": "m.device_list_update", "content": device},
        {"edu_type": "m.signing_key_update", "content": {"user_id": room.eve, "master_key": keys}},
    ]


@pytest.mark.slow
async def test_any_transaction_is_answered(here: RunningServer, peer: Peer) -> None:
    """T-B4, T-B1, T-E23: events signed over junk, junk signed over nothing, EDUs of any form."""
    alice, room = await joined(here, peer)
    chance = random.Random(5)
    member = room.make("m.room.member", {"membership": "join", "displayname": "E"}, room.eve).pdu
    levels = room.make("m.room.power_levels", {"users": {room.eve: 100}, "events": {"x": 5}}, "").pdu
    message = room.make("m.room.message", {"msgtype": "m.text", "body": "junk", "m.relates_to": {"a": {}}}).pdu
    for number in range(120):
        pdus = []
        for good in (member, levels, message):
            junk = mutated({key: value for key, value in good.items() if key not in ("hashes", "signatures")}, chance)
            try:
                pdus.append(sign_event(room.version, junk, peer.signer).pdu)
            except Exception:  # what can't be signed is sent as it is
                pdus.append(mutated(good, chance))
        edus = [mutated(edu, chance) for edu in edus_of(room, alice.user_id)]
        body = {"origin": peer.name, "origin_server_ts": number, "pdus": pdus, "edus": edus}
        if number % 5 == 0:
            body = mutated(body, chance)
        try:
            answer = await peer.ask("PUT", name_of(here), f"{V1}/send/fuzz{number}", body)
        except Exception as error:  # numbers and texts that no canonical JSON has can't be signed
            assert "JSON" in str(error) or "surrogate" in str(error) or "number" in str(error), error
            continue
        assert answer.status in (200, 400), (answer.status, answer.body, body)
    (await alice.sync())["rooms"]["join"][room.room_id]
    last = room.text("after all this", prev=list(room.heads))
    await room.send(name_of(here), last)

    async def heard() -> bool:
        return "after all this" in await texts(alice, room.room_id)

    await until(heard, within_s=30)


@pytest.mark.slow
async def test_any_answer_is_survived(here: RunningServer, peer: Peer) -> None:
    """T-A3, T-B7, T-E8: joins, invites, directories and profiles of servers that answer anything."""
    alice, room = await here.user("alice"), PeerRoom(peer)
    chance = random.Random(7)
    room.answer_joins(alice.user_id)
    right = dict(peer.answers)

    def lying(path: str) -> Any:
        return lambda sent: mutated(right[path](sent), chance)

    def wrong(good: Any) -> Any:
        return lambda sent: mutated(good, chance)

    for number in range(60):
        peer.answers.update({path: lying(path) if chance.random() < 0.7 else right[path] for path in right})
        answer = await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)
        assert answer.status in (200, 400, 403, 404, 502), (number, answer.status, answer.body)
        if answer.status == 200:
            (await alice.sync())["next_batch"]
            (await alice.get("/rooms/{}/messages", room.room_id, dir="b")).ok()
            (await alice.post("/rooms/{}/leave", room.room_id)).ok()
    answers = {
        V1 + "/query/profile": {"displayname": "Eve", "avatar_url": "mxc://a/b"},
        V1 + "/query/directory": {"room_id": room.room_id, "servers": [peer.name]},
        V1 + "/publicRooms": {"chunk": [{"room_id": room.room_id, "num_joined_members": 1}], "next_batch": "x"},
        V1 + "/user": {"device_keys": {room.eve: {"D": {}}}, "devices": [], "stream_id": 1, "user_id": room.eve},
    }
    for _ in range(40):
        peer.answers = {path: wrong(good) for path, good in answers.items()}
        found = [
            await alice.get("/profile/{}", room.eve),
            await alice.get("/directory/room/{}", f"#x:{peer.name}"),
            await alice.request("POST", "/publicRooms", body={}, query={"server": peer.name}),
            await alice.post("/keys/query", body={"device_keys": {room.eve: []}}),
        ]
        assert all(answer.status in (200, 400, 403, 404, 502) for answer in found), [one.status for one in found]


@pytest.mark.slow
async def test_any_header_is_answered(here: RunningServer, peer: Peer) -> None:
    """T-A15, T-O1: what a request says of its signature, mutated; and keys that are something else."""
    right = authorization_header(peer.signer, name_of(here), "GET", V1 + "/query/profile?user_id=@x:y", None)
    chance = random.Random(11)
    letters = [chr(code) for code in range(32, 127)] + ["ä", "\t", '""', ",", "=", "X-Matrix "]
    for _ in range(150):
        header = list(right)
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(header))
            header[at : at + chance.randint(0, 4)] = [chance.choice(letters)] * chance.randint(0, 3)
        answer = await here.anonymous().request(
            "GET", V1 + "/query/profile?user_id=@x:y", headers={"Authorization": "".join(header) or "x"}
        )
        assert answer.status in (400, 401, 403, 404), (answer.status, "".join(header))
    document = dict(peer.keys)
    for number in range(60):
        peer.keys = mutated(document, chance)
        assert here.hansa.federation is not None
        found = await here.hansa.federation.keys.documents({peer.name: number})
        assert all(one["server_name"] == peer.name for one in found)
        assert (await here.anonymous().get("/_matrix/key/v2/query/{}", peer.name)).status == 200


@pytest.mark.slow
async def test_any_question_is_answered(here: RunningServer, peer: Peer) -> None:
    """T-E6, T-O1: each endpoint for servers, asked with junk in its path, query and body."""
    _, room = await joined(here, peer)
    chance = random.Random(9)
    paths = [
        ("GET", V1 + "/event/{}"), ("GET", V1 + "/state/{}?event_id={}"), ("GET", V1 + "/state_ids/{}?event_id={}"),
        ("GET", V1 + "/backfill/{}?v={}&limit={}"), ("POST", V1 + "/get_missing_events/{}"),
        ("GET", V1 + "/make_join/{}/{}?ver={}"), ("PUT", V2 + "/send_join/{}/{}"), ("PUT", V2 + "/invite/{}/{}"),
        ("GET", V1 + "/timestamp_to_event/{}?ts={}&dir={}"), ("GET", V1 + "/query/profile?user_id={}&field={}"),
        ("POST", V1 + "/user/keys/query"), ("POST", V1 + "/user/keys/claim"), ("GET", V1 + "/hierarchy/{}"),
        ("GET", "/_matrix/key/v2/query/{}"), ("POST", "/_matrix/key/v2/query"), ("GET", V1 + "/event_auth/{}/{}"),
        ("PUT", V2 + "/send_leave/{}/{}"), ("GET", V1 + "/user/devices/{}"),
        ("PUT", V1 + "/exchange_third_party_invite/{}"),
    ]  # fmt: skip
    words = ["x", "%00", "%2F", "-1", "99999999999999999999", "%F0%9F%98%80", room.room_id, room.eve, room.heads[0]]
    good: dict[str, Any] = {
        "latest_events": [room.heads[0]], "earliest_events": [], "limit": 5, "device_keys": {room.eve: ["D"]},
        "one_time_keys": {room.eve: {"D": "x"}}, "server_keys": {peer.name: {"ed25519:1": {}}}, "room_version": "11",
        "event": room.make("m.room.member", {"membership": "invite"}, "@x:y").pdu, "invite_room_state": [{}],
    }  # fmt: skip
    for _ in range(250):
        method, path = chance.choice(paths)
        target = path.format(*(chance.choice(words) for _ in range(path.count("{}"))))
        body = mutated(good, chance) if method != "GET" else None
        try:
            answer = await peer.ask(method, name_of(here), target, body)
        except Exception as error:
            assert "JSON" in str(error) or "surrogate" in str(error) or "number" in str(error), error
            continue
        assert answer.status < 500, (method, target, answer.status, answer.body, body)
