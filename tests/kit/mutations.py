"""Values, PDUs and EDUs with something wrong in them, by chance."""

from __future__ import annotations

import copy
import random
from typing import Any

from homeserver.core.events import sign_event
from tests.kit.peer_room import V1, V2, PeerRoom

JUNK: list[Any] = [
    None, True, 0, -1, 2**53, -(2**53), 1.5, "", "x", "\x00", "\ud7ff", "$" * 300, "@a:b", "!a:b", "$a", [], {}, [[]],
    [None], {"": None}, {"a": {"b": {}}}, ["$" + "a" * 43], {"@a:b": 5}, "a" * 70_000, [0] * 200,
]  # fmt: skip
LETTERS = [*(chr(code) for code in range(32, 127)), "ä", "\t", '""', ",", "=", "X-Matrix "]
QUESTIONS = [
    ("GET", V1 + "/event/{}"), ("GET", V1 + "/state/{}?event_id={}"), ("GET", V1 + "/state_ids/{}?event_id={}"),
    ("GET", V1 + "/backfill/{}?v={}&limit={}"), ("POST", V1 + "/get_missing_events/{}"),
    ("GET", V1 + "/make_join/{}/{}?ver={}"), ("PUT", V2 + "/send_join/{}/{}"), ("PUT", V2 + "/invite/{}/{}"),
    ("GET", V1 + "/timestamp_to_event/{}?ts={}&dir={}"), ("GET", V1 + "/query/profile?user_id={}&field={}"),
    ("POST", V1 + "/user/keys/query"), ("POST", V1 + "/user/keys/claim"), ("GET", V1 + "/hierarchy/{}"),
    ("GET", "/_matrix/key/v2/query/{}"), ("POST", "/_matrix/key/v2/query"), ("GET", V1 + "/event_auth/{}/{}"),
    ("PUT", V2 + "/send_leave/{}/{}"), ("GET", V1 + "/user/devices/{}"),
    ("PUT", V1 + "/exchange_third_party_invite/{}"),
]  # fmt: skip


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


def junk_transaction(room: PeerRoom, user_id: str, chance: random.Random, number: int) -> Any:
    """The body of a transaction: a membership, power levels and a message, and each kind of EDU, all mutated."""
    member = room.make("m.room.member", {"membership": "join", "displayname": "E"}, room.eve).pdu
    levels = room.make("m.room.power_levels", {"users": {room.eve: 100}, "events": {"x": 5}}, "").pdu
    message = room.make("m.room.message", {"msgtype": "m.text", "body": "junk", "m.relates_to": {"a": {}}}).pdu
    pdus = []
    for good in (member, levels, message):
        junk = mutated({key: value for key, value in good.items() if key not in ("hashes", "signatures")}, chance)
        try:
            pdus.append(sign_event(room.version, junk, room.peer.signer).pdu)
        except Exception:  # what can't be signed is sent as it is
            pdus.append(mutated(good, chance))
    edus = [mutated(edu, chance) for edu in edus_of(room, user_id)]
    body = {"origin": room.peer.name, "origin_server_ts": number, "pdus": pdus, "edus": edus}
    return mutated(body, chance) if number % 5 == 0 else body


def junk_question(room: PeerRoom, chance: random.Random) -> tuple[str, str, Any]:
    """Method, target and body of a request of another server, with junk in each of its places."""
    method, path = chance.choice(QUESTIONS)
    words = ["x", "%00", "%2F", "-1", "99999999999999999999", "%F0%9F%98%80", room.room_id, room.eve, room.heads[0]]
    good: dict[str, Any] = {
        "latest_events": [room.heads[0]], "earliest_events": [], "limit": 5, "device_keys": {room.eve: ["D"]},
        "one_time_keys": {room.eve: {"D": "x"}}, "server_keys": {room.peer.name: {"ed25519:1": {}}},
        "room_version": "11", "event": room.make("m.room.member", {"membership": "invite"}, "@x:y").pdu,
        "invite_room_state": [{}],
    }  # fmt: skip
    target = path.format(*(chance.choice(words) for _ in range(path.count("{}"))))
    return method, target, mutated(good, chance) if method != "GET" else None


def junk_header(right: str, chance: random.Random) -> str:
    """An Authorization header, with letters of it changed, doubled and taken away."""
    header = list(right)
    for _ in range(chance.randint(1, 6)):
        at = chance.randrange(len(header))
        header[at : at + chance.randint(0, 4)] = [chance.choice(LETTERS)] * chance.randint(0, 3)
    return "".join(header) or "x"
