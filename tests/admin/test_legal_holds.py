"""What is held survives redaction, retention, purges and deletions, until it is released."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.admin.people import Crew, crew_of
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import a_moment, until

HOLDS = "/_hansa/admin/v1/holds"
AT_ONCE = "[rooms]\nredacted_retention_s = 0\n"
DAY_MS = 86_400_000


async def hold(client: Client, kind: str, target: str) -> str:
    body = {"kind": kind, "target": target, "reason": "case 12"}
    held: str = (await client.post(HOLDS, body=body)).ok()["id"]
    return held


async def body_of(server: RunningServer, event_id: str) -> Any:
    pdu = json.loads(await server.db.fetchval("SELECT json FROM events WHERE event_id = $1", event_id))
    return pdu["content"].get("body")


async def redact(client: Client, room_id: str, event_id: str) -> None:
    (await client.put("/rooms/{}/redact/{}/r" + event_id[1:9], room_id, event_id)).ok()


def is_gone(server: RunningServer, event_id: str) -> Any:
    async def gone() -> bool:
        return await body_of(server, event_id) is None

    return gone


@pytest.mark.parametrize("kind", ["room", "user"])
async def test_redacted_content_stays_while_held(database_dsn: str, kind: str) -> None:
    """T-G11, T-J15: a hold keeps the content on disk, hidden as any redacted; released, it goes."""
    async with running_server(database_dsn, toml=AT_ONCE) as server:
        crew = await crew_of(server)
        room_id, other = await crew.user.create_room(), await crew.admin.create_room()
        event_id, free = await crew.user.send(room_id, "evidence"), await crew.admin.send(other, "free")
        hold_id = await hold(crew.owner, kind, room_id if kind == "room" else crew.user.user_id)
        await redact(crew.user, room_id, event_id)
        await redact(crew.admin, other, free)
        await until(is_gone(server, free))
        assert await body_of(server, event_id) == "evidence"
        assert (await crew.user.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"] == {}
        (await crew.owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).ok()
        await redact(crew.admin, other, await crew.admin.send(other, "wakes it"))
        await until(is_gone(server, event_id))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["room", "user"])
async def test_retention_goes_on_for_others(database_dsn: str, kind: str) -> None:
    """A hold set while messages expire: no held one is lost, all others expire; after the release the rest does."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock, toml="[rooms]\nretention = true\n") as server:
        crew = await crew_of(server)
        wish: dict[str, Any] = {"type": "m.room.retention", "content": {"max_lifetime": 2 * DAY_MS}}
        room_id = await crew.user.create_room(initial_state=[wish], preset="public_chat")
        await crew.admin.join(room_id)
        other = await crew.admin.create_room(initial_state=[wish])
        held, said = await crew.user.send(room_id, "evidence"), await crew.admin.send(room_id, "of another")
        free = await crew.admin.send(other, "free")
        hold_id = await hold(crew.owner, kind, room_id if kind == "room" else crew.user.user_id)
        clock.advance(3 * 86_400)
        for room in (room_id, other):
            await crew.admin.send(room, "newest")

        async def has_expired() -> bool:
            clock.advance(301)
            expired = [await body_of(server, one) is None for one in ((free, said) if kind == "user" else (free,))]
            return all(expired)

        await until(has_expired)
        assert await body_of(server, held) == "evidence"
        assert (await body_of(server, said) is None) is (kind == "user")
        (await crew.owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).ok()

        async def all_has_expired() -> bool:
            clock.advance(301)
            return await body_of(server, held) is None and await body_of(server, said) is None

        await until(all_has_expired)


async def test_purges_and_deletions_are_refused(server: RunningServer, crew: Crew) -> None:
    """T-J15: neither the room's deletion nor a purge of its history takes what is held."""
    room_id = await crew.user.create_room(preset="public_chat")
    await crew.admin.join(room_id)
    held, said = await crew.user.send(room_id, "evidence"), await crew.admin.send(room_id, "of another")
    newest = await crew.admin.send(room_id, "newest")
    delete, purge = "/_synapse/admin/v1/rooms/{}", "/_synapse/admin/v1/purge_history/{}/{}"
    hold_id = await hold(crew.owner, "room", room_id)
    for answer in (
        await crew.admin.delete(delete, room_id, body={"purge": True}),
        await crew.admin.post(purge, room_id, newest, body={"delete_local_events": True}),
    ):
        assert answer.status == 409 and "legal hold" in answer.json["error"]
    (await crew.owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).ok()
    await hold(crew.owner, "user", crew.user.user_id)
    assert (await crew.admin.delete(delete, room_id, body={"purge": True})).status == 409
    begun = (await crew.admin.post(purge, room_id, newest, body={"delete_local_events": True})).ok()["purge_id"]
    status = {"status": "scheduled"}
    while status["status"] in ("scheduled", "active"):
        status = (await crew.admin.get("/_synapse/admin/v1/purge_history_status/{}", begun)).ok()
    assert status["status"] == "complete"
    left = {row["event_id"] for row in await server.db.fetch("SELECT event_id FROM events WHERE key_nid IS NULL")}
    assert held in left and said not in left


async def test_files_stay(server: RunningServer, crew: Crew) -> None:
    """What somebody held has uploaded is deleted by nobody."""
    upload = await crew.user.request("POST", "/_matrix/media/v3/upload", data=b"a file", query={"filename": "a.txt"})
    media_id = upload.ok()["content_uri"].rsplit("/", 1)[1]
    hold_id = await hold(crew.owner, "user", crew.user.user_id)
    path = "/_synapse/admin/v1/media/hansa.test/{}"
    assert (await crew.admin.delete(path, media_id)).status == 409
    assert (await crew.admin.post("/_synapse/admin/v1/media/delete", body={})).status < 500
    assert await server.db.fetchval("SELECT count(*) FROM media WHERE media_id = $1", media_id) == 1
    (await crew.owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).ok()
    assert (await crew.admin.delete(path, media_id)).ok()["deleted_media"] == [media_id]


async def test_holds_are_listed_and_audited(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-J16: each act leaves a row; auditors read, moderators and users don't learn of it."""
    hold_id = await hold(crew.admin, "user", "@remote:elsewhere.test")
    body = {"kind": "user", "target": "@remote:elsewhere.test", "reason": "again"}
    assert (await crew.admin.post(HOLDS, body=body)).status == 409
    listed = (await crew.auditor.get(HOLDS)).ok()["holds"]
    assert [(one["id"], one["set_by"], one["released_ts"]) for one in listed] == [(hold_id, crew.admin.user_id, None)]
    for client in (crew.moderator, crew.user):
        (await client.get(HOLDS)).refused(403, "M_FORBIDDEN")
    (await crew.auditor.post(HOLDS, body=body)).refused(403, "M_FORBIDDEN")
    released = (await crew.owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).ok()
    assert released["released_by"] == crew.owner.user_id
    assert (await crew.owner.post(HOLDS + "/{}/release", hold_id, body={"reason": "closed"})).status == 409
    (await crew.owner.post(HOLDS + "/none/release", body={"reason": "closed"})).refused(404, "M_NOT_FOUND")
    assert (await crew.auditor.get(HOLDS)).ok()["holds"] == []
    assert len((await crew.auditor.get(HOLDS, released="true")).ok()["holds"]) == 1
    rows = (await crew.owner.get("/_hansa/admin/v1/audit", target="@remote:elsewhere.test")).ok()["entries"]
    assert [(row["action"], row["reason"]) for row in rows] == [("hold.release", "closed"), ("hold.set", "case 12")]


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({"kind": "room", "target": "@a:hansa.test", "reason": "x"}, "M_INVALID_PARAM"),
        ({"kind": "user", "target": "!a:hansa.test", "reason": "x"}, "M_INVALID_PARAM"),
        ({"kind": "user", "target": "@a:hansa.test", "reason": " "}, "M_INVALID_PARAM"),
        ({"kind": "server", "target": "hansa.test", "reason": "x"}, "M_BAD_JSON"),
        ({"kind": "user", "target": "@a:hansa.test"}, "M_MISSING_PARAM"),
    ],
)
async def test_what_is_no_hold(server: RunningServer, crew: Crew, body: dict[str, Any], errcode: str) -> None:
    (await crew.owner.post(HOLDS, body=body)).refused(400, errcode)
    await a_moment()
