"""What local users could do to a server that let them: floods, bombs, other rooms' events, circles."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.kit.loop_watch import loop_watched
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.sliding import WHOLE_STATE, SlidingClient, window
from tests.kit.until import SOON_S, until

MEGABYTE = 1024 * 1024


async def test_account_data_of_a_user_has_a_limit_as_a_whole(server: RunningServer) -> None:
    """T-H4: single entries within their limit don't add up to an initial sync that nobody can load."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "/user/{}/account_data/org.example.{}"
    big = {"x": "y" * (MEGABYTE - 100)}
    for number in range(14):
        (await alice.put(path, alice.user_id, str(number), body=big)).ok()
    last = [alice.put(path, alice.user_id, str(number), body=big) for number in range(14, 19)]
    assert sorted(answer.status for answer in await asyncio.gather(*last)) == [200] * 2 + [413] * 3
    (await alice.put(path, alice.user_id, "more", body=big)).refused(413, "M_TOO_LARGE")
    (await alice.put(path, alice.user_id, "0", body={"x": 1})).ok()
    (await alice.put(path, alice.user_id, "more", body={"x": "y" * 1000})).ok()
    (await bob.put(path, bob.user_id, "0", body=big)).ok()


@pytest.mark.parametrize("data", [b"[]", b'"text"', b"5", b"null", b"true"])
async def test_account_data_is_an_object(server: RunningServer, data: bytes) -> None:
    """T-H4: on the account and in rooms alike."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    for path in (
        f"/user/{alice.user_id}/account_data/org.x",
        f"/user/{alice.user_id}/rooms/{room_id}/account_data/org.x",
    ):
        (await alice.request("PUT", path, data=data)).refused(400, "M_BAD_JSON")
    assert (await alice.sync())["rooms"]["join"][room_id]["account_data"]["events"] == []


async def test_lists_of_members_are_rationed_by_their_size(database_dsn: str) -> None:
    """T-H13: by user; the list of a large room counts as many of small ones."""
    limits = "[rate_limits]\nmember_list = { per_second = 0.001, burst = 3 }\n"
    async with running_server(database_dsn, toml=limits) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        large = await alice.create_room(preset="public_chat")
        await bob.join(large)
        names = [f"@guest{number}:hansa.test" for number in range(600)]
        await _seat(server.db, large, names)
    async with running_server(database_dsn, toml=limits) as server:
        alice, bob = await server.login("alice"), await server.login("bob")
        (await alice.get("/rooms/{}/members", large)).ok()
        (await alice.get("/rooms/{}/joined_members", large)).refused(429, "M_LIMIT_EXCEEDED")
        (await bob.get("/rooms/{}/members", large)).ok()
        carol = await server.user("carol")
        small = await carol.create_room()
        for status in (200, 200, 429):
            assert (await carol.get("/rooms/{}/members", small)).status == status


@pytest.mark.parametrize("kind", ["state", "context", "initialSync", "search"])
async def test_whole_states_of_large_rooms_are_rationed_as_lists_of_members(database_dsn: str, kind: str) -> None:
    """T-H13: whatever gives all members of a large room counts; small rooms and lazy loading don't."""
    limits = "[rate_limits]\nmember_list = { per_second = 0.001, burst = 3 }\n"
    async with running_server(database_dsn, toml=limits) as server:
        alice = await server.user("alice")
        large, small = await alice.create_room(), await alice.create_room()
        said = {large: await alice.send(large, "heronlarge"), small: await alice.send(small, "heronsmall")}
        await _seat(server.db, large, [f"@guest{number}:hansa.test" for number in range(600)])
    async with running_server(database_dsn, toml=limits) as server:
        alice = await server.login("alice")

        async def status(room_id: str) -> int:
            if kind == "search":
                term = "heronlarge" if room_id == large else "heronsmall"
                wanted = {"search_categories": {"room_events": {"search_term": term, "include_state": True}}}
                return (await alice.post("/search", body=wanted)).status
            path = f"/rooms/{{}}/{kind}" + ("/{}" if kind == "context" else "")
            return (await alice.get(path, room_id, *([said[room_id]] if kind == "context" else []))).status

        assert [await status(small) for _ in range(5)] == [200] * 5
        assert [await status(large) for _ in range(2)] == [200, 429]
        lazy = json.dumps({"lazy_load_members": True})
        assert (await alice.get("/rooms/{}/context/{}", large, said[large], filter=lazy)).status == 200


async def _seat(db: Database, room_id: str, users: list[str]) -> None:
    """Puts members into a room behind the server's back."""
    await db.execute(
        """
        INSERT INTO memberships (room_nid, user_id, membership, event_nid)
        SELECT mine.room_nid, user_id, 'join', mine.event_nid FROM unnest($2::text[]) AS user_id,
        (SELECT room_nid, event_nid FROM memberships JOIN rooms USING (room_nid) WHERE room_id = $1 LIMIT 1) AS mine
        """,
        room_id,
        users,
    )


async def test_an_event_is_found_in_its_own_room_alone(server: RunningServer) -> None:
    """T-B5, T-J17: the room of the path is the room of the event, on every endpoint that names both."""
    alice, bob = await server.user("alice"), await server.user("bob")
    there, here = await alice.create_room(), await bob.create_room()
    mine = await bob.create_room()
    secret, own = await alice.send(there, "secret"), await bob.send(mine, "own")
    for event_id in (secret, own):
        (await bob.get("/rooms/{}/event/{}", here, event_id)).refused(404, "M_NOT_FOUND")
        (await bob.get("/rooms/{}/context/{}", here, event_id)).refused(404, "M_NOT_FOUND")
        (await bob.put("/rooms/{}/redact/{}/1", here, event_id)).refused(404, "M_NOT_FOUND")
        assert (await bob.post("/rooms/{}/receipt/m.read/{}", here, event_id)).status in (400, 404)
        (await bob.post("/rooms/{}/report/{}", here, event_id, body={"reason": "x"})).refused(404, "M_NOT_FOUND")
        for tail in ("", "/m.thread", "/m.replace/m.room.message"):
            path = f"/_matrix/client/v1/rooms/{{}}/relations/{{}}{tail}"
            (await bob.get(path, here, event_id)).refused(404, "M_NOT_FOUND")
        path = "/_matrix/client/unstable/io.element.msc4306/rooms/{}/thread/{}/subscription"
        (await bob.put(path, here, event_id, body={})).refused(404, "M_NOT_FOUND")
        assert (await bob.post("/rooms/{}/read_markers", here, body={"m.fully_read": event_id})).status in (400, 404)
    said = {"msgtype": "m.text", "body": "x", "room_id": there, "event_id": "$made:up", "sender": alice.user_id}
    sent = (await bob.put("/rooms/{}/send/m.room.message/1", here, body=said)).ok()["event_id"]
    event = (await bob.get("/rooms/{}/event/{}", here, sent)).ok()
    assert (event["room_id"], event["sender"]) == (here, bob.user_id)
    assert (await alice.get("/rooms/{}/event/{}", there, secret)).ok()["content"]["body"] == "secret"


async def test_redactions_of_redactions_end(server: RunningServer) -> None:
    """T-C12: each is followed once; a circle, were there one, is no loop."""
    alice = await server.user("alice")
    room_id = await alice.create_room(room_version="11")
    chain = [await alice.send(room_id, "first")]
    for number in range(5):
        answer = await alice.put("/rooms/{}/redact/{}/{}", room_id, chain[-1], str(number), body={"reason": "x"})
        chain.append(answer.ok()["event_id"])
    circle = await alice.put("/rooms/{}/redact/{}/again", room_id, chain[-1])
    chain.append(circle.ok()["event_id"])
    await server.db.execute(
        "UPDATE events SET redacted_by = (SELECT event_nid FROM events WHERE event_id = $2) WHERE event_id = $1",
        chain[-1],
        chain[1],
    )
    async with asyncio.timeout(SOON_S):
        for event_id in chain[:-1]:
            event = (await alice.get("/rooms/{}/event/{}", room_id, event_id)).ok()
            assert "body" not in event["content"] and "redacted_because" in event["unsigned"]
        assert len((await alice.get("/rooms/{}/messages", room_id, dir="b", limit=100)).ok()["chunk"]) > len(chain)
        await alice.sync()


async def test_one_bad_room_spoils_no_sync(database_dsn: str) -> None:
    """T-G4, T-B6: what can't be read is passed over and logged; first and incremental syncs tell the rest."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        good, headless = await alice.create_room(), await alice.create_room()
        since = (await alice.sync())["next_batch"]
        memberless, stateless = await alice.create_room(), await alice.create_room()
        for room_id in (good, headless, memberless, stateless):
            await alice.send(room_id, "after")
        await _damage(server.db, headless, "m.room.message")
        await _damage(server.db, memberless, "m.room.member")
        await server.db.execute(
            "UPDATE states SET delta = delta || '\\x01' WHERE state_nid IN "
            "(SELECT event_nid FROM events JOIN rooms USING (room_nid) WHERE room_id = $1)",
            stateless,
        )
    async with running_server(database_dsn) as server:
        again = await server.login("alice")
        for answer in (await again.sync(), await again.sync(since=since)):
            assert answer["rooms"]["join"][good]["timeline"]["events"][-1]["content"]["body"] == "after"
        client = SlidingClient(again)
        for name in ("first", "next"):
            answer = await client.sync(lists={name: window(limit=5, state=WHOLE_STATE)})
            assert good in client.rooms and not {headless, stateless} & set(client.rooms)
        await again.send(good, "more")
        assert (await again.get("/rooms/{}/messages", good, dir="b")).ok()["chunk"][0]["content"]["body"] == "more"
        for room_id in (headless, stateless):
            (await again.get("/rooms/{}/messages", room_id, dir="b")).refused(403, "M_FORBIDDEN")


async def test_a_room_whose_past_is_damaged_is_left_out(database_dsn: str) -> None:
    """T-G4: also where the damage shows only once the answer is being made."""
    index = "SELECT max(index) FROM states JOIN events ON event_nid = states.state_nid JOIN rooms USING (room_nid) "
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        good, bad = await alice.create_room(), await alice.create_room()
        number = 0
        # The eighth state is stored without the seventh, which is the one before the newest event.
        while await server.db.fetchval(index + "WHERE room_id = $1", bad) < 8:
            number += 1
            (await alice.put("/rooms/{}/state/m.room.topic", bad, body={"topic": str(number)})).ok()
        await server.db.execute(
            "UPDATE states SET delta = delta || '\\x01' WHERE index = 7 AND state_nid IN "
            "(SELECT event_nid FROM events JOIN rooms USING (room_nid) WHERE room_id = $1)",
            bad,
        )
    last = json.dumps({"room": {"timeline": {"limit": 1}}})
    async with running_server(database_dsn) as server:
        again = await server.login("alice")
        assert set((await again.sync(filter=last))["rooms"]["join"]) == {good}
        assert set((await again.sync())["rooms"]["join"]) == {good, bad}


async def test_a_room_that_was_damaged_where_one_left_is_left_out(database_dsn: str) -> None:
    """T-G4, T-G3: of sliding sync as well, and told once it can be read."""
    damage = "UPDATE states SET delta = $2 WHERE index = 7 AND state_nid IN (" + _STATES_OF_ROOM + ")"
    lists = {"all": window(limit=1, state=WHOLE_STATE)}
    async with running_server(database_dsn) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        good, bad = await bob.create_room(), await alice.create_room(preset="public_chat")
        await bob.join(bad)
        number = 0
        while await server.db.fetchval(_INDEX, bad) < 6:
            number += 1
            (await alice.put("/rooms/{}/state/m.room.topic", bad, body={"topic": str(number)})).ok()
        (await alice.post("/rooms/{}/kick", bad, body={"user_id": bob.user_id})).ok()
        (await alice.put("/rooms/{}/state/m.room.topic", bad, body={"topic": "after"})).ok()
        delta = await server.db.fetchval(
            "SELECT delta FROM states WHERE index = 7 AND state_nid IN (" + _STATES_OF_ROOM + ")", bad
        )
        await server.db.execute(damage, bad, delta + b"\x01")
    async with running_server(database_dsn) as server:
        client = SlidingClient(await server.login("bob"))
        await client.sync(lists=lists)
        assert set(client.rooms) == {good}
        await client.sync(lists=lists)
        assert set(client.rooms) == {good}
        await server.db.execute(damage, bad, delta)
        await client.sync(lists=lists)
        assert set(client.rooms) == {good, bad}


_STATES_OF_ROOM = "SELECT event_nid FROM events JOIN rooms USING (room_nid) WHERE room_id = $1"
_INDEX = "SELECT max(index) FROM states WHERE state_nid IN (" + _STATES_OF_ROOM + ")"


async def _damage(db: Database, room_id: str, kind: str) -> None:
    """Spoils the newest event of a type, as a failing disk would."""
    await db.execute(
        """
        UPDATE events SET json = '{' WHERE event_nid = (
            SELECT max(event_nid) FROM events JOIN rooms USING (room_nid)
            WHERE room_id = $1 AND position($2::bytea in json) > 0
        )
        """,
        room_id,
        f'"type":"{kind}"'.encode(),
    )


async def test_settings_go_over_to_the_room_that_replaces_another(server: RunningServer) -> None:
    """T-H8: to the users' own new room alone, and what they set there already stays."""
    alice, bob = await server.user("alice"), await server.user("bob")
    old = await alice.create_room(preset="public_chat", room_version="11")
    await bob.join(old)
    for client, tag in ((alice, "m.favourite"), (bob, "m.lowpriority")):
        (await client.put("/pushrules/global/room/{}", old, body={"actions": ["dont_notify"]})).ok()
        (await client.put("/user/{}/rooms/{}/tags/{}", client.user_id, old, tag, body={"order": 0.5})).ok()
    since = {client.user_id: (await client.sync())["next_batch"] for client in (alice, bob)}
    new = (await alice.post("/rooms/{}/upgrade", old, body={"new_version": "12"})).ok()["replacement_room"]
    await bob.join(new)
    for client, tag in ((alice, "m.favourite"), (bob, "m.lowpriority")):
        tags, rules = await _until_copied(client, new, since[client.user_id])
        assert tags == {tag: {"order": 0.5}} and {old, new} <= rules


async def test_a_direct_chat_and_packs_in_use_go_over_as_well(server: RunningServer) -> None:
    """Image packs are the room's; which of them somebody uses everywhere is theirs. What isn't of the room stays."""
    alice, bob = await server.user("alice"), await server.user("bob")
    old = await alice.create_room(
        preset="trusted_private_chat", room_version="11", invite=[bob.user_id], is_direct=True
    )
    await bob.join(old)
    pack = {"images": {"hansa": {"url": "mxc://hansa.test/cog"}}}
    for key in ("", "ships"):
        (await alice.put("/rooms/{}/state/m.room.image_pack/{}", old, key, body=pack)).ok()
    direct = {bob.user_id: [old, "!x:elsewhere"], "@c:elsewhere": ["!y:elsewhere"], "@odd:elsewhere": 5}
    used = {"rooms": {old: {"ships": {"x": 1}, "gone": {}}, "!z:elsewhere": {"": {}}}}
    (await alice.put("/user/{}/account_data/m.direct", alice.user_id, body=direct)).ok()
    (await alice.put("/user/{}/account_data/m.image_pack.rooms", alice.user_id, body=used)).ok()
    new = (await alice.post("/rooms/{}/upgrade", old, body={"new_version": "12"})).ok()["replacement_room"]
    for key in ("", "ships"):
        assert (await alice.get("/rooms/{}/state/m.room.image_pack/{}", new, key)).ok() == pack

    async def data(kind: str) -> Any:
        return (await alice.get("/user/{}/account_data/{}", alice.user_id, kind)).ok()

    async def has_moved() -> bool:
        return new in (await data("m.image_pack.rooms"))["rooms"]

    await until(has_moved)
    rooms = {old: {"gone": {}}, "!z:elsewhere": {"": {}}, new: {"ships": {"x": 1}}}
    assert await data("m.image_pack.rooms") == {"rooms": rooms}
    assert await data("m.direct") == {**direct, bob.user_id: [old, "!x:elsewhere", new]}


async def test_settings_follow_links_of_both_rooms_alone(server: RunningServer) -> None:
    """T-C27, T-C26: neither a room that names a predecessor nor a tombstone alone takes aliases or settings along; who
    joined before the second link was there gets them with it."""
    alice, bob = await server.user("alice"), await server.user("bob")
    old = await alice.create_room(preset="public_chat", room_version="11", room_alias_name="hof")
    await bob.join(old)
    (await bob.put("/pushrules/global/room/{}", old, body={"actions": []})).ok()
    (await bob.put("/user/{}/rooms/{}/tags/m.favourite", bob.user_id, old, body={"order": 0.5})).ok()
    since = (await bob.sync())["next_batch"]
    claim = {"predecessor": {"room_id": old, "event_id": "$x"}}
    mallory = await server.user("mallory")
    forged, claims = [
        await client.create_room(preset="public_chat", creation_content=claim) for client in (mallory, alice)
    ]
    named = await alice.create_room(preset="public_chat")
    (await alice.put("/rooms/{}/state/m.room.tombstone", old, body={"replacement_room": named})).ok()
    for room_id in (forged, claims, named):
        await bob.join(room_id)
    assert (await alice.get("/directory/room/{}", "#hof:hansa.test")).ok()["room_id"] == old
    (await alice.put("/rooms/{}/state/m.room.tombstone", old, body={"replacement_room": claims})).ok()
    tags, rules = await _until_copied(bob, claims, since)
    assert tags == {"m.favourite": {"order": 0.5}} and rules == {old, claims}
    for room_id in (forged, named):
        assert (await bob.get("/user/{}/rooms/{}/tags", bob.user_id, room_id)).ok() == {"tags": {}}


async def _until_copied(client: Client, room_id: str, since: str) -> tuple[Any, set[str]]:
    async with asyncio.timeout(SOON_S):
        while True:
            answer = await client.sync(since=since, timeout=1000)
            since = answer["next_batch"]
            tags = await client.get("/user/{}/rooms/{}/tags", client.user_id, room_id)
            rules = {rule["rule_id"] for rule in (await client.get("/pushrules/")).ok()["global"]["room"]}
            if tags.ok()["tags"] and room_id in rules:
                return tags.json["tags"], rules


@pytest.mark.slow
async def test_nothing_holds_the_loop_for_long(database_dsn: str) -> None:
    """T-H16: passwords, large bodies, filters, lists: whatever is costly happens elsewhere, or in pieces."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room(preset="public_chat")
        deep = {"room": {"timeline": {"types": ["*a*b*c*"] * 50, "not_types": ["x" * 200] * 250}}}
        wide = {"x": [{"a": number} for number in range(20_000)]}
        chosen = (await alice.post("/user/{}/filter", alice.user_id, body=deep)).ok()["filter_id"]
        # A busy machine stands still now and then; what holds the loop does so every time.
        longest: list[float] = []
        for turn in range(3):
            async with loop_watched() as watch:
                await asyncio.gather(
                    *(server.user(f"user{turn}x{number}") for number in range(5)),
                    alice.post("/user/{}/filter", alice.user_id, body=deep),
                    alice.put("/user/{}/account_data/org.x", alice.user_id, body=wide),
                    alice.put("/rooms/{}/state/org.x", room_id, body={"x": "y" * 60_000}),
                    alice.post("/keys/query", body={"device_keys": {f"@u{n}:hansa.test": [] for n in range(4000)}}),
                    alice.put(
                        f"/sendToDevice/org.x/{turn}", body={"messages": {alice.user_id: {"*": {"x": "y" * 50_000}}}}
                    ),
                    alice.request("POST", "/createRoom", data=b"[" * 900_000),
                    alice.request("POST", "/createRoom", data=json.dumps({"a": "\\u0000" * 100_000}).encode()),
                    alice.sync(filter=chosen),
                )
            longest.append(watch.longest_s)
        assert min(longest) < 0.1, longest
