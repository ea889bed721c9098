"""What an operator does to rooms that other servers are in too."""

from __future__ import annotations

import asyncio

from tests.admin.people import owner_of
from tests.kit.server import RunningServer
from tests.kit.until import until

ROOM = "/_synapse/admin/v1/rooms/{}"


async def test_a_blocked_room_is_neither_joined_nor_invited_to(here: RunningServer, there: RunningServer) -> None:
    """T-M: a room that this server isn't in."""
    owner, alice, bob = await owner_of(here), await here.user("alice"), await there.user("bob")
    room = await bob.create_room(preset="public_chat", room_alias_name="bad")
    (await owner.put(ROOM + "/block", room, body={"block": True})).ok()
    (await alice.post("/join/{}", f"#bad:{there.hansa.config.server_name}")).refused(403, "M_FORBIDDEN")
    refused = await bob.post("/rooms/{}/invite", room, body={"user_id": alice.user_id})
    assert refused.status == 403
    assert room not in (await alice.sync()).get("rooms", {}).get("invite", {})
    (await owner.put(ROOM + "/block", room, body={"block": False})).ok()
    await alice.join(f"#bad:{there.hansa.config.server_name}")


async def test_a_deleted_room_can_be_joined_anew(here: RunningServer, there: RunningServer) -> None:
    """T-H: others see our users leave; nothing left here is in the way of a new start."""
    owner, alice, bob = await owner_of(here), await here.user("alice"), await there.user("bob")
    room = await bob.create_room(preset="public_chat", room_alias_name="town")
    await alice.join(f"#town:{there.hansa.config.server_name}")
    await alice.send(room, "from here")
    await bob.send(room, "from there")
    (await owner.delete(ROOM, room, body={})).ok()

    async def has_left() -> bool:
        members = (await bob.get("/rooms/{}/joined_members", room)).ok()["joined"]
        return alice.user_id not in members

    await until(has_left)
    (await owner.get(ROOM, room)).refused(404, "M_NOT_FOUND")
    await bob.send(room, "meanwhile")
    await alice.join(f"#town:{there.hansa.config.server_name}")
    event_id = await alice.send(room, "here again")

    async def is_there() -> bool:
        return (await bob.get("/rooms/{}/event/{}", room, event_id)).status == 200

    await until(is_there)
    (await alice.get("/rooms/{}/joined_members", room)).ok()  # until all of it is known
    joined = (await alice.sync())["rooms"]["join"]
    assert list(joined) == [room]


async def test_loose_ends_are_joined(here: RunningServer, there: RunningServer) -> None:
    """What both said at once ends the graph twice, until an operator, or the next event, ties it."""
    owner, alice, bob = await owner_of(here), await here.user("alice"), await there.user("bob")
    room = await bob.create_room(preset="public_chat", room_alias_name="fork")
    await alice.join(f"#fork:{there.hansa.config.server_name}")
    path = ROOM + "/forward_extremities"

    async def is_forked() -> bool:
        _, theirs = await asyncio.gather(alice.send(room, "mine"), bob.send(room, "theirs"))

        async def is_here() -> bool:
            return (await alice.get("/rooms/{}/event/{}", room, theirs)).status == 200

        await until(is_here)
        return bool((await owner.get(path, room)).ok()["count"] > 1)

    await until(is_forked)
    ends = (await owner.get(path, room)).ok()
    assert len(ends["results"]) == ends["count"] > 1
    assert (await owner.delete(path, room)).ok()["deleted"] == ends["count"] - 1
    assert (await owner.get(path, room)).ok()["count"] == 1
    newest = await alice.send(room, "on")

    async def is_there() -> bool:
        return (await bob.get("/rooms/{}/event/{}", room, newest)).status == 200

    await until(is_there)
    await bob.send(room, "heard")
    members = (await owner.get(ROOM + "/members", room)).ok()["members"]
    assert members == sorted([alice.user_id, bob.user_id])


async def test_purged_history_of_others_is_gone_here(here: RunningServer, there: RunningServer) -> None:
    """T-H: by default what our own users said stays, as nobody else need have it."""
    owner, alice, bob = await owner_of(here), await here.user("alice"), await there.user("bob")
    room = await bob.create_room(preset="public_chat", room_alias_name="past")
    await alice.join(f"#past:{there.hansa.config.server_name}")
    mine, theirs = await alice.send(room, "mine"), await bob.send(room, "theirs")

    async def is_here() -> bool:
        return (await alice.get("/rooms/{}/event/{}", room, theirs)).status == 200

    await until(is_here)
    last = await alice.send(room, "last")
    body = {"purge_up_to_event_id": last}
    purge_id = (await owner.post("/_synapse/admin/v1/purge_history/{}", room, body=body)).ok()["purge_id"]

    async def is_purged() -> bool:
        status = (await owner.get("/_synapse/admin/v1/purge_history_status/{}", purge_id)).ok()["status"]
        return bool(status == "complete")

    await until(is_purged)
    fetched = "/_synapse/admin/v1/fetch_event/{}"
    (await owner.get(fetched, theirs)).refused(404, "M_NOT_FOUND")
    assert (await owner.get(fetched, mine)).ok()["event"]["content"]["body"] == "mine"
    assert (await owner.get(fetched, last)).status == 200
    await bob.send(room, "and on")
