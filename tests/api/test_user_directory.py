"""Who finds whom, and what is kept from whom."""

from __future__ import annotations

import asyncio
from typing import Any

from homeserver.storage.database import Database
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until


async def found(client: Client, term: str, **body: Any) -> list[str]:
    answer = (await client.post("/user_directory/search", body={"search_term": term, **body})).ok()
    return [user["user_id"] for user in answer["results"]]


async def name_room(client: Client, room: str, name: str) -> None:
    body = {"membership": "join", "displayname": name}
    (await client.put("/rooms/{}/state/m.room.member/{}", room, client.user_id, body=body)).ok()


async def test_who_is_found(server: RunningServer) -> None:
    """T-G14: those who share a room, or are where anybody may go; by the name of the profile alone."""
    alice, bob, eve = [await server.user(name) for name in ("alice", "bob", "eve")]
    (await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "Alice 王小明"})).ok()
    assert await found(eve, "alice") == []
    private = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    assert await found(bob, "alice") == []  # invited only
    await bob.join(private)
    await name_room(alice, private, "Freddy")
    assert await found(bob, "小明") == await found(bob, "@alice") == await found(bob, "ALICE") == [alice.user_id]
    assert await found(bob, "freddy") == await found(eve, "freddy") == await found(eve, "alice") == []
    public = await alice.create_room(preset="public_chat")
    assert await found(eve, "alice") == [alice.user_id]
    assert await found(eve, "eve") == []  # who is in no room
    assert await found(alice, "alice") == [alice.user_id]
    (await alice.put("/rooms/{}/state/m.room.join_rules", public, body={"join_rule": "invite"})).ok()
    assert await found(eve, "alice") == []
    body = {"history_visibility": "world_readable"}
    (await alice.put("/rooms/{}/state/m.room.history_visibility", public, body=body)).ok()
    assert await found(eve, "alice") == [alice.user_id]
    (await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "Lisa"})).ok()
    assert await found(eve, "lisa") == [alice.user_id]
    assert await found(eve, "小明") == []
    (await alice.post("/rooms/{}/leave", public)).ok()
    assert await found(eve, "lisa") == []


async def test_deactivated_users_and_guests_are_not_found(server: RunningServer) -> None:
    """T-G14"""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    assert await found(alice, "bob") == [bob.user_id]
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "bob"}}
    auth["password"] = "correct horse battery"
    (await bob.post("/account/deactivate", body={"auth": auth})).ok()
    assert await found(alice, "bob") == []
    guest = (await server.anonymous().request("POST", "/register", query={"kind": "guest"}, body={})).ok()
    client = server.anonymous()
    client.token = guest["access_token"]
    (await client.post("/user_directory/search", body={"search_term": "a"})).refused(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_limits(server: RunningServer) -> None:
    alice = await server.user("alice")
    room = await alice.create_room(preset="public_chat")
    for number in range(4):
        await (await server.user(f"zoe{number}")).join(room)
    everyone = [f"@zoe{number}:hansa.test" for number in range(4)]
    assert await found(alice, "zoe") == everyone
    answer = (await alice.post("/user_directory/search", body={"search_term": "zoe", "limit": 2})).ok()
    assert (len(answer["results"]), answer["limited"]) == (2, True)
    assert await found(alice, "zoe", limit=10**9) == everyone
    assert await found(alice, "zoe", limit=-1) == await found(alice, "") == await found(alice, "%") == []
    for term in ("x" * 1000, 5, None):
        assert (await alice.post("/user_directory/search", body={"search_term": term})).status == 400


async def test_the_directory_catches_up(database_dsn: str) -> None:
    """What a killed server had not taken in is taken in by the next one."""
    async with running_server(database_dsn) as server:
        alice, eve = await server.user("alice"), await server.user("eve")
        await alice.create_room(preset="public_chat")
        (await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "Lisa"})).ok()
        await server.db.execute("DELETE FROM journal_cursors WHERE consumer = 'user_directory'")
        await server.db.execute("DELETE FROM directory_users")
        await server.db.execute("DELETE FROM directory_words")
        token = eve.token
    async with running_server(database_dsn) as server:
        eve = server.anonymous()
        eve.token = token

        async def is_back() -> bool:
            return bool(await found(eve, "lisa"))

        await until(is_back)
        assert await found(eve, "lisa") == ["@alice:hansa.test"]


async def test_what_is_being_written_is_waited_for(server: RunningServer, database: Database) -> None:
    """Whoever was taken up for writing is found as well as who waits for it."""
    alice = await server.user("alice")
    async with database.transaction() as tx:
        await tx.execute("LOCK TABLE directory_users IN EXCLUSIVE MODE")  # it can be read
        zoe = await server.user("zoe")
        await zoe.create_room(preset="public_chat")

        async def is_being_written() -> bool:
            sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'directory_users'::regclass"
            return bool(await server.db.fetchval(sql))

        await until(is_being_written)
        searching = asyncio.create_task(found(alice, "zoe"))
        done, _ = await asyncio.wait([searching], timeout=1)
        assert not done
    assert await searching == [zoe.user_id]


async def test_mutual_rooms(server: RunningServer) -> None:
    alice, bob, eve = [await server.user(name) for name in ("alice", "bob", "eve")]
    shared = await alice.create_room(preset="public_chat")
    await bob.join(shared)
    await alice.create_room(preset="public_chat", invite=[bob.user_id])
    path = "/_matrix/client/v1/mutual_rooms"
    assert (await alice.get(path, user_id=bob.user_id)).ok() == {"joined": [shared], "count": 1}
    assert (await eve.get(path, user_id=bob.user_id)).ok() == {"joined": [], "count": 0}
    assert (await alice.get(path, user_id="@nobody:hansa.test")).ok() == {"joined": [], "count": 0}
    old = "/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms"
    assert (await alice.get(old, user_id=bob.user_id)).ok() == {"joined": [shared]}
    (await alice.get(path, user_id=alice.user_id)).refused(400, "M_INVALID_PARAM")
    (await alice.get(path, user_id="bob")).refused(400, "M_INVALID_PARAM")
    (await alice.get(path)).refused(400, "M_MISSING_PARAM")
    (await alice.request("GET", path, query={"user_id": bob.user_id, "from": "x"})).refused(400, "M_INVALID_PARAM")


async def test_guests_change_nothing_but_their_name(server: RunningServer) -> None:
    """T-G21"""
    guest = (await server.anonymous().request("POST", "/register", query={"kind": "guest"}, body={})).ok()
    client = server.anonymous()
    client.token = guest["access_token"]
    user_id = guest["user_id"]
    (await client.put("/profile/{}/displayname", user_id, body={"displayname": "Passer-by"})).ok()
    body = {"avatar_url": "mxc://hansa.test/abc"}
    refused = await client.put("/profile/{}/avatar_url", user_id, body=body)
    refused.refused(403, "M_GUEST_ACCESS_FORBIDDEN")
    (await client.delete("/profile/{}/m.tz", user_id)).refused(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_blocked_invites(server: RunningServer) -> None:
    """Nobody invites somebody who wants none, and invites of before aren't shown."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "/user/{}/account_data/m.invite_permission_config"
    early = await bob.create_room(invite=[alice.user_id])
    assert early in (await alice.sync())["rooms"]["invite"]
    (await alice.put(path, alice.user_id, body={"default_action": "block"})).ok()
    assert "invite" not in (await alice.sync()).get("rooms", {})
    room = await bob.create_room()
    (await bob.post("/rooms/{}/invite", room, body={"user_id": alice.user_id})).refused(403, "M_INVITE_BLOCKED")
    body = {"membership": "invite"}
    refused = await bob.put("/rooms/{}/state/m.room.member/{}", room, alice.user_id, body=body)
    refused.refused(403, "M_INVITE_BLOCKED")
    (await alice.put(path, alice.user_id, body={})).ok()
    assert early in (await alice.sync())["rooms"]["invite"]


async def test_invites_by_user_server_and_pattern(server: RunningServer) -> None:
    """T-E22: who is blocked is told so; who is ignored is not, and the invited never sees it."""
    alice, bob, carol = [await server.user(name) for name in ("alice", "bob", "carol")]
    path = "/user/{}/account_data/org.matrix.msc4155.invite_permission_config"
    body = {"blocked_users": ["@bo?:hansa.test"], "ignored_servers": ["hansa.*"], "allowed_users": ["@dora:*"]}
    (await alice.put(path, alice.user_id, body=body)).ok()
    rooms = {client.user_id: await client.create_room() for client in (bob, carol)}
    refused = await bob.post("/rooms/{}/invite", rooms[bob.user_id], body={"user_id": alice.user_id})
    refused.refused(403, "M_INVITE_BLOCKED")
    (await carol.post("/rooms/{}/invite", rooms[carol.user_id], body={"user_id": alice.user_id})).ok()
    assert "invite" not in (await alice.sync()).get("rooms", {})
    dora = await server.user("dora")
    room = await dora.create_room(invite=[alice.user_id])
    assert list((await alice.sync())["rooms"]["invite"]) == [room]
    knocking = await dora.create_room(preset="public_chat", initial_state=[KNOCKED])
    (await dora.put("/rooms/{}/state/m.room.join_rules", knocking, body={"join_rule": "knock"})).ok()
    (await alice.post("/knock/{}", knocking)).ok()
    assert knocking in (await alice.sync())["rooms"]["knock"]
    (await alice.put(path, alice.user_id, body={})).ok()
    assert set((await alice.sync())["rooms"]["invite"]) == {room, rooms[carol.user_id]}


KNOCKED = {"type": "m.room.history_visibility", "content": {"history_visibility": "shared"}}
