"""Each field of conditions over HTTP: hit by what has it and by nothing else; and when a rule is in force."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from typing import Any

import pytest

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import latest, put, rule, say
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server

SEND = "/rooms/{}/send/m.room.message/{}"


async def watch(crew: Crew, conditions: dict[str, str], *when: str) -> None:
    """Rules that record alone."""
    for name, condition in conditions.items():
        await put(crew, name, rule(condition, {"kind": "tag"}, stage="shadow", when=when))


async def hits(crew: Crew, client: Client) -> dict[str, set[str]]:
    """By event, which rules hit it."""
    found: dict[str, set[str]] = defaultdict(set)
    for one in await latest(crew, sender=client.user_id, limit="500"):
        found[one["event_id"]].add(one["rule_id"])
    return found


async def test_fields_of_events(server: RunningServer, crew: Crew) -> None:
    user, friend = crew.user, await server.user("friend")
    room_id, other = await user.create_room(preset="public_chat"), await user.create_room()
    algorithm = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    secret = await user.create_room(initial_state=[algorithm])
    await watch(
        crew,
        {
            "state": 'event.is_state && event.state_key == "purple"',
            "media": 'event.media.exists(one, one == "mxc://hansa.test/abc")',
            "type-of-file": 'event.mimetype == "image/x-odd"',
            "edit": "event.is_edit",
            "reply": "event.is_reply",
            "name": 'sender.name == "user"',
            "here": f'room.id == "{other}"',
            "secret": "room.encrypted",
            "guest": "sender.guest",
        },
        "event",
    )
    await watch(crew, {"target": f'event.target == "{friend.user_id}"'}, "invite")

    async def sent(where: str, **content: Any) -> str:
        body = {"msgtype": "m.text", "body": "horse", **content}
        event_id: str = (await user.put(SEND, where, str(len(expected)), body=body)).ok()["event_id"]
        return event_id

    expected: dict[str, set[str]] = {}
    plain = await sent(room_id)
    expected[plain] = {"name"}
    state = (await user.put("/rooms/{}/state/test.colour/{}", room_id, "purple", body={})).ok()["event_id"]
    expected[state] = {"name", "state"}
    expected[await sent(room_id, msgtype="m.image", url="mxc://hansa.test/abc")] = {"name", "media"}
    info = {"mimetype": "image/x-odd", "size": 5}
    expected[await sent(room_id, msgtype="m.image", url="mxc://hansa.test/def", info=info)] = {"name", "type-of-file"}
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": plain}, "m.new_content": {"body": "x"}}
    expected[await sent(room_id, **edit)] = {"name", "edit"}
    expected[await sent(room_id, **{"m.relates_to": {"m.in_reply_to": {"event_id": plain}}})] = {"name", "reply"}
    expected[await sent(other)] = {"name", "here"}
    expected[await sent(secret)] = {"name", "secret"}
    (await user.post("/rooms/{}/invite", room_id, body={"user_id": friend.user_id})).ok()
    found = await hits(crew, user)
    assert {event_id: found[event_id] for event_id in expected} == expected
    assert {frozenset(rules) for event_id, rules in found.items() if event_id not in expected} == {
        frozenset({"target"})
    }


async def test_fields_of_files_and_accounts(server: RunningServer, crew: Crew) -> None:
    data = b"a file of its own"
    await put(crew, "file", rule(f'event.hash == "{hashlib.sha256(data).hexdigest()}"', when=("media",)))
    upload = "/_matrix/media/v3/upload"
    (await crew.user.request("POST", upload, data=data)).refused(403, "M_FORBIDDEN")
    (await crew.user.request("POST", upload, data=data + b"!")).ok()
    away = rule('sender.address == "127.0.0.1" && sender.localpart == "newcomer"', when=("registration",))
    await put(crew, "away", away)
    body = {"username": "newcomer", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
    (await server.anonymous().post("/register", body=body)).refused(403, "M_FORBIDDEN")
    await server.user("another")


async def test_what_is_counted(server: RunningServer, crew: Crew) -> None:
    """Of a sender, over rooms, of a server, of a room, of an address: each by itself."""
    user, friend = crew.user, await server.user("friend")
    rooms = [await user.create_room(preset="public_chat") for _ in range(3)]
    for room_id in rooms:
        await friend.join(room_id)
    await watch(
        crew,
        {
            "hour": "rates.sender_1h == 3",
            "rooms": "rates.sender_rooms_1m == 3",
            "server": "rates.server_1m == 4",
            "room": f'rates.room_1m == 2 && room.id == "{rooms[0]}"',
        },
        "event",
    )
    first = await friend.send(rooms[0], "one")
    second = await user.send(rooms[0], "two")
    third = await user.send(rooms[1], "three")
    fourth = await user.send(rooms[2], "four")
    found = {**await hits(crew, user), **await hits(crew, friend)}
    assert [found.get(one, set()) for one in (first, second, third, fourth)] == [
        set(),
        {"room"},
        set(),
        {"hour", "rooms", "server"},
    ]
    await put(crew, "address", rule("rates.address_1m > 2", when=("registration",)))
    for number in range(3):
        body = {"username": f"one{number}", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
        answer = await server.anonymous().post("/register", body=body)
        assert answer.status == (403 if number == 2 else 200)


async def test_a_rule_is_in_force_from_then_until_then(database_dsn: str) -> None:
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room()
        begins, ends = clock.now_ms() + 60_000, clock.now_ms() + 120_000
        await put(crew, "for-a-while", rule('event.text.contains("zebra")', from_ms=begins, until_ms=ends))
        (await say(crew.user, room_id, "zebra before")).ok()
        clock.advance(61)
        (await say(crew.user, room_id, "zebra meanwhile")).refused(403, "M_FORBIDDEN")
        clock.advance(60)
        (await say(crew.user, room_id, "zebra after")).ok()


async def test_a_rule_is_in_force_in_some_rooms(server: RunningServer, crew: Crew) -> None:
    """Elsewhere it stands in shadow."""
    inside, outside = await crew.user.create_room(), await crew.user.create_room()
    await put(crew, "here", rule('event.text.contains("zebra")', rooms=[inside]))
    (await say(crew.user, inside, "zebra")).refused(403, "M_FORBIDDEN")
    (await say(crew.user, outside, "zebra")).ok()
    assert [(one["room_id"], one["stage"]) for one in await latest(crew)] == [(outside, "shadow"), (inside, "enforced")]


@pytest.mark.parametrize("percentage", [0, 50, 100])
async def test_a_rule_is_in_force_for_a_part_of_all_senders(server: RunningServer, crew: Crew, percentage: int) -> None:
    """The same sender is always on the same side."""
    people = [await server.user(f"person{number}") for number in range(12)]
    room_id = await crew.user.create_room(preset="public_chat")
    for person in people:
        await person.join(room_id)
    await put(crew, "partly", rule('event.text.contains("zebra")', percentage=percentage))
    sides = [
        [(await say(person, room_id, word)).status == 403 for person in people] for word in ("zebra one", "zebra two")
    ]
    assert sides[0] == sides[1]
    # By the names of the rule and of the senders, so that it is the same in every run.
    assert sum(sides[0]) in {0: [0], 50: range(1, 12), 100: [12]}[percentage]
