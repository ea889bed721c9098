"""U+0000 and other strings that no table takes, in whatever an event or a profile says: kept byte for byte, and no work
behind the scenes stops at them, now or at the next start."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

ODD = ("\x00", "a\x00b", "x" * 9_000, "\ufffe", "mxc://hansa.test/\x00", "mxc://hansa.test/" + "m" * 9_000)


def contents(odd: str, event_id: str) -> list[tuple[str, dict[str, Any]]]:
    """Events that have such a string wherever something of the server looks."""
    return [
        ("m.room.message", {"msgtype": "m.text", "body": odd, "format": odd, "formatted_body": odd, odd[:200]: odd}),
        ("m.room.message", {"msgtype": "m.image", "body": odd, "url": odd, "info": {"thumbnail_url": odd}}),
        ("m.room.message", {"msgtype": odd, "body": "x", "m.mentions": {"user_ids": [odd]}}),
        ("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": odd}}),
        ("m.room.message", {"body": "x", "m.relates_to": {"rel_type": odd, "event_id": event_id}}),
        ("m.room.message", {"body": "x", "m.relates_to": {"rel_type": "m.thread", "event_id": odd}}),
        ("m.room.message", {"body": "x", "redacts": odd, "m.relates_to": {"m.in_reply_to": {"event_id": odd}}}),
    ]


def states(odd: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        ("m.room.name", {"name": odd}),
        ("m.room.topic", {"topic": odd, "m.topic": {"m.text": [{"body": odd, "mimetype": odd}]}}),
        ("m.room.avatar", {"url": odd}),
        ("m.room.redaction", {"redacts": odd, "reason": odd}),
        ("m.room.guest_access", {"guest_access": odd}),
        ("m.room.pinned_events", {"pinned": [odd]}),
        ("m.room.encryption", {"algorithm": odd}),
        ("m.room.retention", {"max_lifetime": odd}),
        ("m.policy.rule.user", {"entity": odd, "recommendation": odd, "reason": odd}),
        ("m.space.child", {"via": [odd], "order": odd}),
    ]


async def say_all(alice: Client, room_id: str) -> None:
    event_id = await alice.send(room_id, "first")
    number = 0
    for odd in ODD:
        for type, content in contents(odd, event_id):
            number += 1
            answer = await alice.put("/rooms/{}/send/{}/{}", room_id, type, f"t{number}", body=content)
            assert answer.status < 500, (type, content, answer)
        for type, content in states(odd):
            answer = await alice.put("/rooms/{}/state/" + type, room_id, body=content)
            assert answer.status < 500, (type, content, answer)
        member = {"membership": "join", "displayname": odd, "avatar_url": odd, "reason": odd}
        path = f"/rooms/{quote(room_id)}/state/m.room.member/{quote(alice.user_id)}"
        assert (await alice.request("PUT", path, body=member)).status < 500
        for field in ("displayname", "avatar_url"):
            assert (await alice.put("/profile/{}/{}", alice.user_id, field, body={field: odd})).status in (200, 400)


async def all_goes_on(server: RunningServer, alice: Client, bob: Client, room_id: str) -> None:
    """Nobody behind the scenes stumbled: what is said now is seen by each of them."""

    def figures(name: str) -> list[float]:
        lines = server.hansa.metrics.render().decode().splitlines()
        return [float(line.rpartition(" ")[2]) for line in lines if line.startswith(name + "{")]

    async def has_caught_up() -> bool:
        lags = figures("hansa_consumer_lag_positions")
        return len(lags) > 3 and not any(lags)

    await until(has_caught_up)
    assert figures("hansa_task_failures_total") == []
    (await bob.post("/user_directory/search", body={"search_term": "alice"})).ok()
    wanted = {"search_categories": {"room_events": {"search_term": "first"}}}
    (await bob.post("/search", body=wanted)).ok()
    for path in ("/sync", f"/rooms/{quote(room_id)}/messages", "/notifications", f"/rooms/{quote(room_id)}/members"):
        (await bob.request("GET", path, query={"dir": "b", "limit": 500} if "messages" in path else None)).ok()
    (await bob.get("/publicRooms")).ok()


async def test_no_string_stops_the_server(database_dsn: str) -> None:
    """T-B17, T-O1, T-G4: said by a user of ours; the next start takes them in as well."""
    async with running_server(database_dsn) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat", room_version="11", visibility="public")
        await bob.join(room_id)
        await say_all(alice, room_id)
        kept = await alice.send(room_id, "nu\x00l", **{"\x00": "\x00"})
        content = (await bob.get("/rooms/{}/event/{}", room_id, kept)).ok()["content"]
        assert (content["body"], content["\x00"]) == ("nu\x00l", "\x00")
        await all_goes_on(server, alice, bob, room_id)
    async with running_server(database_dsn) as server:
        alice, bob = await server.login("alice"), await server.login("bob")
        await alice.send(room_id, "after")
        await all_goes_on(server, alice, bob, room_id)


async def test_a_token_with_a_nul_names_no_promise(database_dsn: str) -> None:
    """T-B17: what no key of a room's state can be is not looked for, and no state event gets such a key."""
    async with running_server(database_dsn) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        signed = {"sender": alice.user_id, "mxid": bob.user_id, "token": "\x00", "signatures": {}}
        (await bob.post("/join/{}", room_id, body={"third_party_signed": signed})).refused(403, "M_FORBIDDEN")
        odd = [{"type": "m.example", "state_key": "\x00", "content": {}}]
        assert (await alice.post("/createRoom", body={"initial_state": odd})).status == 400
