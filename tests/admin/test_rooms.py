"""Rooms through the admin API: listed, read, blocked, deleted, their history purged."""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import replace
from typing import Any

import pytest

from homeserver.core.identifiers import UserId
from homeserver.storage import room_facts, unread, user_directory
from homeserver.storage.database import Database
from homeserver.storage.room_facts import RoomFact
from homeserver.storage.unread import Mark, Page
from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

ROOMS = "/_synapse/admin/v1/rooms"
ROOM = ROOMS + "/{}"
JOB = "/_hansa/admin/v1/jobs/{}"
V2 = "/_synapse/admin/v2/rooms"


async def listed(server: RunningServer, client: Client, **query: Any) -> Any:
    """The list, once all that happened is in it."""
    await server.hansa.admin.rooms.overviews.write()
    return (await client.get(ROOMS, **query)).ok()


async def ended(client: Client, job_id: str) -> Any:
    """The job, once it has ended."""

    async def has_ended() -> bool:
        return (await client.get(JOB, job_id)).ok()["state"] not in ("scheduled", "active")

    await until(has_ended)
    return (await client.get(JOB, job_id)).ok()


async def test_what_is_being_written_is_waited_for(server: RunningServer, crew: Crew, database: Database) -> None:
    """Two who write the list down don't pass each other: the cursor would pass what isn't written."""
    async with database.transaction() as tx:
        await tx.execute("LOCK TABLE room_overviews IN EXCLUSIVE MODE")  # it can be read
        room_id = await crew.user.create_room(name="Gamma")

        async def is_being_written() -> bool:
            sql = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'room_overviews'::regclass"
            return bool(await server.db.fetchval(sql))

        await until(is_being_written)
        listing = asyncio.create_task(listed(server, crew.auditor))
        done, _ = await asyncio.wait([listing], timeout=1)
        assert not done
    assert [room["room_id"] for room in (await listing)["rooms"]] == [room_id]


async def test_what_is_written_late_of_a_deleted_room_is_not_kept(crew: Crew, database: Database) -> None:
    """Consumers of the journal write a moment later: what they know of a room that is gone must not come back."""
    room = await crew.user.create_room()
    stays = await database.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", await crew.user.create_room())
    gone = await database.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", room)
    deleting = (await crew.owner.delete(V2 + "/{}", room, body={"force_purge": True})).ok()
    assert (await ended(crew.owner, deleting["delete_id"]))["state"] == "complete"
    user_id = UserId(crew.user.user_id)
    async with database.transaction() as tx:
        for table in ("room_facts", "unread_pages", "unread_marks", "directory_open_rooms"):
            await tx.execute(f"DELETE FROM {table}")
        await room_facts.upsert(tx, dict.fromkeys((gone, stays), RoomFact(1, 1, None, is_encrypted=False)))
        page = Page(room_nid=gone, user_id=user_id, thread_id="", is_highlight=False, positions=array("q", [1]))
        await unread.insert_pages(tx, [page, replace(page, room_nid=stays)])
        await unread.upsert_marks(tx, [Mark(nid, user_id, "", 1) for nid in (gone, stays)])
        await user_directory.set_open(tx, [gone, stays], [])
        for table in ("room_facts", "unread_pages", "unread_marks", "directory_open_rooms"):
            assert [row["room_nid"] for row in await tx.fetch(f"SELECT room_nid FROM {table}")] == [stays], table


async def test_rooms_are_listed_sorted_and_found(server: RunningServer, crew: Crew) -> None:
    first = await crew.user.create_room(name="Beta", preset="public_chat", room_alias_name="beta")
    second = await crew.user.create_room(name="alpha", topic="on things")
    await crew.admin.join(first)
    by_name = await listed(server, crew.auditor)
    assert [room["room_id"] for room in by_name["rooms"]] == [second, first]
    assert (by_name["offset"], by_name["total_rooms"]) == (0, 2)
    by_size = await listed(server, crew.auditor, order_by="joined_members")
    assert [room["joined_members"] for room in by_size["rooms"]] == [2, 1]
    turned = await listed(server, crew.auditor, order_by="joined_members", dir="b", limit=1)
    assert [room["room_id"] for room in turned["rooms"]] == [second]
    assert turned["next_batch"] == 1
    rest = await listed(server, crew.auditor, order_by="joined_members", dir="b", limit=1, **{"from": 1})
    assert [room["room_id"] for room in rest["rooms"]] == [first]
    assert rest["prev_batch"] == 0
    for term in ("BET", "#beta", first):
        found = await listed(server, crew.auditor, search_term=term)
        assert [room["room_id"] for room in found["rooms"]] == [first]
    details = (await crew.auditor.get(ROOM, second)).ok()
    assert (details["topic"], details["joined_local_devices"], details["creator"]) == (
        "on things",
        1,
        crew.user.user_id,
    )
    (await crew.auditor.get(ROOMS, order_by="1; DROP TABLE rooms")).refused(400, "M_INVALID_PARAM")
    (await crew.auditor.get(ROOM, "!not-there:hansa.test")).refused(404, "M_NOT_FOUND")


async def test_what_was_said_is_read_by_who_may(server: RunningServer, crew: Crew) -> None:
    """T-J4: an auditor sees that there is a room, and not what is said in it; nobody's membership matters."""
    room = await crew.user.create_room(preset="private_chat")
    first = await crew.user.send(room, "one")
    second = await crew.user.send(room, "two")
    page = (await crew.moderator.get(ROOM + "/messages", room, dir="b", limit=2)).ok()
    assert [event["event_id"] for event in page["chunk"]] == [second, first]
    context = (await crew.moderator.get(ROOM + "/context/{}", room, first)).ok()
    assert context["event"]["content"]["body"] == "one"
    assert context["events_after"][0]["event_id"] == second
    fetched = (await crew.moderator.get("/_synapse/admin/v1/fetch_event/{}", first)).ok()
    assert fetched["event"]["room_id"] == room
    nearest = (await crew.moderator.get(ROOM + "/timestamp_to_event", room, ts=0, dir="f")).ok()
    assert nearest["event_id"]
    state = (await crew.moderator.get(ROOM + "/state", room)).ok()["state"]
    assert {event["type"] for event in state} >= {"m.room.create", "m.room.member"}
    assert (await crew.auditor.get(ROOM + "/members", room)).ok() == {"members": [crew.user.user_id], "total": 1}
    for tail in ("/messages", "/state", f"/context/{first}"):
        (await crew.auditor.get(ROOM + tail, room)).refused(403, "M_FORBIDDEN")
        (await crew.user.get(ROOM + tail, room)).refused(403, "M_FORBIDDEN")


async def test_a_blocked_room_takes_nobody_in(server: RunningServer, crew: Crew) -> None:
    """T-M: neither joins nor invites get past it, of rooms unknown here neither."""
    room = await crew.user.create_room(preset="public_chat")
    (await crew.auditor.put(ROOM + "/block", room, body={"block": True})).refused(403, "M_FORBIDDEN")
    assert (await crew.moderator.put(ROOM + "/block", room, body={"block": True})).ok() == {"block": True}
    told = (await crew.auditor.get(ROOM + "/block", room)).ok()
    assert told == {"block": True, "user_id": crew.moderator.user_id}
    (await crew.admin.post("/join/{}", room)).refused(403, "M_FORBIDDEN")
    invite = {"user_id": crew.admin.user_id}
    (await crew.user.post("/rooms/{}/invite", room, body=invite)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.put(ROOM + "/block", room, body={"block": False})).ok()
    assert (await crew.auditor.get(ROOM + "/block", room)).ok() == {"block": False}
    await crew.admin.join(room)
    (await crew.moderator.put(ROOM + "/block", "nonsense", body={"block": True})).refused(400, "M_UNKNOWN")


async def test_users_are_joined_and_made_admins(server: RunningServer, crew: Crew) -> None:
    room = await crew.user.create_room(preset="private_chat", room_version="11")
    path = "/_synapse/admin/v1/join/{}"
    body = {"user_id": crew.auditor.user_id}
    (await crew.moderator.post(path, room, body=body)).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(path, room, body=body)).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(path, room, body={"user_id": "@x:elsewhere.test"})).refused(400, "M_UNKNOWN")
    (await crew.admin.post(ROOM + "/make_room_admin", room, body={"user_id": crew.admin.user_id})).ok()
    await crew.admin.join(room)
    levels = (await crew.admin.get("/rooms/{}/state/m.room.power_levels", room)).ok()
    assert levels["users"][crew.admin.user_id] == 100
    assert (await crew.admin.post(path, room, body=body)).ok() == {"room_id": room}
    assert room in (await crew.auditor.get("/joined_rooms")).ok()["joined_rooms"]


async def rows(database: Database, room_nid: int) -> int:
    count: int = await database.fetchval("SELECT count(*) FROM events WHERE room_nid = $1", room_nid)
    return count


async def test_a_room_is_deleted_for_good(server: RunningServer, crew: Crew, database: Database) -> None:
    """T-H: nothing of it is left in any table, and clients that were in it go on."""
    room = await crew.user.create_room(preset="public_chat", room_alias_name="gone", name="Gone")
    await crew.admin.join(room)
    before = await crew.admin.sync()
    for number in range(5):
        await crew.user.send(room, f"secret {number}")
    nid = await database.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", room)
    (await crew.moderator.request("DELETE", V2 + "/{}", room, body={})).refused(403, "M_FORBIDDEN")
    body = {"block": True, "new_room_user_id": crew.owner.user_id, "message": "It had to be."}
    delete_id = (await crew.owner.delete(V2 + "/{}", room, body=body)).ok()["delete_id"]
    assert (await ended(crew.owner, delete_id))["state"] == "complete"
    status = (await crew.owner.get(V2 + "/delete_status/{}", delete_id)).ok()
    shut = status["shutdown_room"]
    assert status["status"] == "complete"
    assert sorted(shut["kicked_users"]) == sorted([crew.user.user_id, crew.admin.user_id])
    assert (shut["failed_to_kick_users"], shut["local_aliases"]) == ([], ["#gone:hansa.test"])
    results = (await crew.owner.get(V2 + "/{}/delete_status", room)).ok()["results"]
    assert [one["delete_id"] for one in results] == [delete_id]
    assert await rows(database, nid) == 0
    for table in ("memberships", "room_facts", "room_overviews", "rooms", "purged_rooms"):
        assert await database.fetchval(f"SELECT count(*) FROM {table} WHERE room_nid = $1", nid) == 0, table
    (await crew.owner.get(ROOM, room)).refused(404, "M_NOT_FOUND")
    (await crew.user.post("/join/{}", room)).refused(403, "M_FORBIDDEN")
    joined = (await crew.user.get("/joined_rooms")).ok()["joined_rooms"]
    assert joined == [shut["new_room_id"]]
    assert room not in (await crew.admin.sync(since=before["next_batch"]))["rooms"].get("join", {})
    assert room not in (await crew.admin.sync())["rooms"].get("join", {})
    alias = (await crew.user.get("/directory/room/{}", "#gone:hansa.test")).ok()
    assert alias["room_id"] == shut["new_room_id"]


async def test_v1_answers_when_it_is_done(server: RunningServer, crew: Crew) -> None:
    room = await crew.user.create_room()
    answer = (await crew.admin.delete(ROOM, room, body={"purge": False})).ok()
    assert answer == {
        "kicked_users": [crew.user.user_id],
        "failed_to_kick_users": [],
        "local_aliases": [],
        "new_room_id": None,
    }
    (await crew.admin.delete(ROOM, "!not-there:hansa.test", body={})).refused(404, "M_NOT_FOUND")
    (await crew.admin.get(V2 + "/delete_status/{}", "nothing")).refused(404, "M_NOT_FOUND")


async def test_history_is_purged_and_the_room_goes_on(server: RunningServer, crew: Crew, database: Database) -> None:
    """T-H: what is gone is gone from every way to read; what is left can be built on."""
    room = await crew.user.create_room(preset="public_chat")
    old = [await crew.user.send(room, f"old {number}") for number in range(3)]
    kept = await crew.user.send(room, "kept")
    path = "/_synapse/admin/v1/purge_history/{}"
    (await crew.admin.post(path, room, body={})).refused(400, "M_BAD_JSON")
    (await crew.admin.post(path + "/{}", room, "$nothing", body={})).refused(404, "M_NOT_FOUND")
    plain = (await crew.admin.post(path + "/{}", room, kept, body={})).ok()["purge_id"]
    assert (await ended(crew.admin, plain))["progress"]["purged_events"] == 0
    body = {"delete_local_events": True, "purge_up_to_event_id": kept}
    purge_id = (await crew.admin.post(path, room, body=body)).ok()["purge_id"]
    assert (await ended(crew.admin, purge_id))["progress"]["purged_events"] == 3
    status = (await crew.admin.get("/_synapse/admin/v1/purge_history_status/{}", purge_id)).ok()
    assert status == {"status": "complete"}
    chunk = (await crew.user.get("/rooms/{}/messages", room, dir="b", limit=100)).ok()["chunk"]
    assert [event["content"]["body"] for event in chunk if event["type"] == "m.room.message"] == ["kept"]
    (await crew.user.get("/rooms/{}/event/{}", room, old[0])).refused(404, "M_NOT_FOUND")
    left = await database.fetch("SELECT event_id FROM events WHERE event_id = ANY($1::text[])", old)
    assert left == []
    await crew.admin.join(room)
    await crew.admin.send(room, "and on")
    assert room in (await crew.admin.sync())["rooms"]["join"]


async def test_loose_ends_are_shown(server: RunningServer, crew: Crew) -> None:
    room = await crew.user.create_room()
    newest = await crew.user.send(room)
    ends = (await crew.auditor.get(ROOM + "/forward_extremities", room)).ok()
    assert (ends["count"], ends["results"][0]["event_id"]) == (1, newest)
    assert (await crew.admin.delete(ROOM + "/forward_extremities", room)).ok() == {"deleted": 0}
    (await crew.auditor.delete(ROOM + "/forward_extremities", room)).refused(403, "M_FORBIDDEN")


@pytest.mark.parametrize("body", [{"block": "yes"}, {}, {"block": None}])
async def test_junk_is_refused(server: RunningServer, crew: Crew, body: Any) -> None:
    answer = await crew.owner.put(ROOM + "/block", "!a:b", body=body)
    assert answer.status == 400
