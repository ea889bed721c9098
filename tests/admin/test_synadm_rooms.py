"""synadm drives what there is about rooms and media."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.admin.people import owner_of
from tests.admin.test_media import PNG, download, uploaded
from tests.admin.test_synadm import Synadm
from tests.kit.server import RunningServer
from tests.kit.until import until

pytestmark = pytest.mark.slow


async def test_rooms(server: RunningServer, tmp_path: Path) -> None:
    owner = await owner_of(server)
    synadm = Synadm(tmp_path, server, owner)
    alice = await server.user("alice")
    room = await alice.create_room(name="Den", preset="public_chat", room_alias_name="den")
    await alice.send(room, "old")
    newest = await alice.send(room, "new")
    await server.hansa.admin.rooms.overviews.write()
    listed = await synadm("room", "list")
    assert [one["room_id"] for one in listed["rooms"]] == [room]
    assert (await synadm("room", "search", "den"))["rooms"][0]["name"] == "Den"
    assert (await synadm("room", "details", room))["joined_members"] == 1
    assert (await synadm("room", "members", room))["members"] == [alice.user_id]
    assert {one["type"] for one in (await synadm("room", "state", room))["state"]} >= {"m.room.create"}
    assert (await synadm("room", "join", room, owner.user_id)) == {"room_id": room}
    assert (await synadm("room", "make-admin", room, "-u", owner.user_id)) == {}
    assert (await synadm("room", "block", room)) == {"block": True}
    assert (await synadm("room", "block-status", room))["block"] is True
    assert (await synadm("room", "block", "-u", room)) == {"block": False}
    purge = (await synadm("history", "purge", "-i", newest, "--delete-local", room))["purge_id"]

    async def is_purged() -> bool:
        return bool((await synadm("history", "purge-status", purge))["status"] == "complete")

    await until(is_purged)
    started = (await synadm("room", "delete", room)) or {}
    if "delete_id" in started:
        delete_id = started["delete_id"]

        async def is_deleted() -> bool:
            return bool((await synadm("room", "delete-status", "-d", delete_id))["status"] == "complete")

        await until(is_deleted)
    (await owner.get("/_synapse/admin/v1/rooms/{}", room)).refused(404, "M_NOT_FOUND")


async def test_media(server: RunningServer, tmp_path: Path) -> None:
    owner = await owner_of(server)
    synadm = Synadm(tmp_path, server, owner)
    alice = await server.user("alice")
    room = await alice.create_room()
    media_id = await uploaded(alice, PNG)
    await alice.send(room, "a", msgtype="m.image", url=f"mxc://hansa.test/{media_id}")
    assert (await synadm("media", "list", "-r", room))["local"] == [f"mxc://hansa.test/{media_id}"]
    assert (await synadm("media", "list", "-u", "alice"))["media"][0]["media_id"] == media_id
    await synadm("media", "protect", media_id)
    assert (await synadm("media", "quarantine", "-u", "alice"))["num_quarantined"] == 0
    await synadm("media", "quarantine", "-s", "hansa.test", "-i", media_id)
    assert await download(alice, media_id) == 200
    (await owner.post("/_synapse/admin/v1/media/unprotect/{}", media_id)).ok()
    await synadm("media", "quarantine", "-s", "hansa.test", "-i", media_id)
    assert await download(alice, media_id) == 404
    await synadm("media", "unquarantine", "-s", "hansa.test", "-i", media_id)
    assert await download(alice, media_id) == 200
    assert (await synadm("media", "delete", "-i", media_id))["total"] == 1
    assert (await synadm("media", "purge", "-d", "0"))["deleted"] == 0
