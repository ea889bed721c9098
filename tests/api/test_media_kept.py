"""What is kept of media, by whom, for how long; and parts of files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_media import download, picture, upload
from tests.kit.raw_http import wire_to
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

AT_ONCE = "[rooms]\nredacted_retention_s = 0\n"


def objects(server: RunningServer) -> list[Path]:
    """The files in the store."""
    folder = server.hansa.config.media.store_path
    return [path for path in folder.rglob("*") if path.is_file()]


async def count(server: RunningServer, table: str) -> int:
    found: int = await server.db.fetchval(f"SELECT count(*) FROM {table}")
    return found


async def test_a_part_of_a_file_comes_alone(server: RunningServer) -> None:
    alice = await server.user("alice")
    data = bytes(range(256)) * 8000
    place = await upload(alice, data, "video/mp4")
    path = f"/_matrix/client/v1/media/download/{place[0]}/{place[1]}"
    whole = await alice.get(path)
    assert whole.body == data and whole.headers["Accept-Ranges"] == "bytes"
    etag = next(value for name, value in whole.headers.items() if name.lower() == "etag")
    part = await alice.request("GET", path, headers={"Range": "bytes=1000000-1999999"})
    assert (part.status, part.body) == (206, data[1_000_000:2_000_000])
    assert part.headers["Content-Range"] == f"bytes 1000000-1999999/{len(data)}"
    tail = await alice.request("GET", path, headers={"Range": "bytes=-5", "If-Range": etag})
    assert (tail.status, tail.body) == (206, data[-5:])
    beyond = await alice.request("GET", path, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    same = await alice.request("GET", path, headers={"If-None-Match": etag})
    assert (same.status, same.body) == (304, b"")


async def test_the_same_file_is_kept_once(server: RunningServer) -> None:
    """T-K15: barred under one id, it is barred under all, in every size; and gone only with the last of them."""
    alice, bob = await server.user("alice"), await server.user("bob")
    data = picture(200, 100)
    first, second = await upload(alice, data, "image/png"), await upload(bob, data, "image/png")
    assert await count(server, "media_files") == 1 and len(objects(server)) == 1
    thumbnail = f"/_matrix/client/v1/media/thumbnail/{second[0]}/{second[1]}"
    assert (await bob.get(thumbnail, width=32, height=32)).status == 200
    await server.hansa.media.repository.set_quarantined(*first, True)
    third = await upload(bob, data, "image/png")
    for answer in (
        await download(bob, *second),
        await download(bob, *third),
        await bob.get(thumbnail, width=32, height=32),
    ):
        answer.refused(404, "M_NOT_FOUND")
    await server.hansa.media.repository.set_quarantined(*first, False)
    await server.hansa.media.repository.delete([first[1], third[1]])
    assert (await download(bob, *second)).body == data
    thumbnails = (await bob.get(thumbnail, width=32, height=32)).body
    await server.hansa.media.repository.set_quarantined(*second, True)
    await server.hansa.media.repository.delete([second[1]])
    assert objects(server) == [] and await count(server, "media_thumbnails") == 0
    last = await upload(alice, data, "image/png")
    (await download(alice, *last)).refused(404, "M_NOT_FOUND")
    await server.hansa.media.repository.set_quarantined(*last, False)
    assert (await download(alice, *last)).body == data
    thumbnail = f"/_matrix/client/v1/media/thumbnail/{last[0]}/{last[1]}"
    assert (await bob.get(thumbnail, width=32, height=32)).body == thumbnails
    await server.hansa.media.repository.delete([last[1]])
    assert objects(server) == [] and await count(server, "media_files") == 0


async def test_a_quota_holds_for_uploads_at_once(database_dsn: str) -> None:
    """T-K3: two that fit alone don't fit together."""
    async with running_server(database_dsn, toml="[media]\nuser_bytes_max = 150000\n") as server:
        alice = await server.user("alice")

        async def one(number: int) -> tuple[int, str | None]:
            answer = await alice.request("POST", "/_matrix/media/v3/upload", data=bytes([number]) * 100_000)
            return answer.status, answer.json.get("errcode")

        answers = sorted(await asyncio.gather(*(one(number) for number in range(4))))
        # spec: client-server-api/#content-repo-security-considerations
        assert answers == [(200, None), *[(403, "M_FORBIDDEN")] * 3]
        assert len(objects(server)) == 1 and await count(server, "media_leftovers") == 0


async def test_created_ids_are_few_and_expire(server: RunningServer) -> None:
    """T-K14: also where many are asked for at once; what is never filled is deleted."""
    alice = await server.user("alice")
    answers = await asyncio.gather(*(alice.post("/_matrix/media/v1/create") for _ in range(9)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 4
    await server.db.execute("UPDATE media SET expires_ts = 1")
    place = next(answer.json["content_uri"] for answer in answers if answer.status == 200).removeprefix("mxc://")
    late = await alice.request("PUT", f"/_matrix/media/v3/upload/{place}", data=b"late")
    late.refused(404, "M_NOT_FOUND")
    await server.hansa.media.housekeeping.tidy()
    assert await count(server, "media") == 0 and objects(server) == []
    assert (await alice.post("/_matrix/media/v1/create")).status == 200


async def test_who_waits_for_a_file_is_woken(server: RunningServer) -> None:
    """T-K14: without asking the database again and again."""
    alice, bob = await server.user("alice"), await server.user("bob")
    place = (await alice.post("/_matrix/media/v1/create")).ok()["content_uri"].removeprefix("mxc://")
    path = f"/_matrix/client/v1/media/download/{place}"
    waits = [asyncio.create_task(bob.get(path, timeout_ms=20_000)) for _ in range(3)]

    async def all_wait() -> bool:
        return server.hansa.media.repository.waiting_for(place.partition("/")[2]) == 3

    await until(all_wait)
    before = server.db.asked
    (await alice.request("PUT", f"/_matrix/media/v3/upload/{place}", data=b"here")).ok()
    assert [answer.body for answer in await asyncio.gather(*waits)] == [b"here"] * 3
    assert server.db.asked - before < 20


async def test_equal_thumbnails_are_made_once(server: RunningServer) -> None:
    """T-K6: however many ask at once; and what can't be one isn't tried again."""
    alice = await server.user("alice")
    server_name, media_id = await upload(alice, picture(300, 300), "image/png")
    path = f"/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}"
    answers = await asyncio.gather(*(alice.get(path, width=96, height=96, method="crop") for _ in range(8)))
    assert {answer.status for answer in answers} == {200} and len({answer.body for answer in answers}) == 1
    assert len(server.hansa.media.sandbox.pids) == 1 and await count(server, "media_thumbnails") == 1
    server_name, media_id = await upload(alice, b"no picture", "image/png")
    for _ in range(2):
        answer = await alice.get(f"/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}", width=96, height=96)
        answer.refused(400, "M_UNKNOWN")


@pytest.mark.parametrize("sent", [b"", b"x" * 3000])
async def test_a_slow_upload_is_cut_off(database_dsn: str, sent: bytes) -> None:
    """T-K13: it leaves nothing behind."""
    toml = "[media]\nupload_patience_s = 0.3\nupload_bytes_per_s_min = 1000000\n"
    async with running_server(database_dsn, toml=toml) as server:
        alice = await server.user("alice")
        async with wire_to(server.base_url) as wire:
            head = f"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
            await wire.send(f"{head}Content-Length: 100000\r\n\r\n".encode() + sent)
            assert (await wire.head()).startswith(b"HTTP/1.1 408 ")

        async def is_clean() -> bool:
            return objects(server) == [] and await count(server, "media_leftovers") == 0

        await until(is_clean)


async def test_a_size_that_is_announced_is_believed_in_one_direction_alone(database_dsn: str) -> None:
    """T-K13: too large a one is refused before the first byte, a wrong one at the cap; a broken one leaves nothing."""
    async with running_server(database_dsn, toml="[media]\nupload_bytes_max = 50000\n") as server:
        alice = await server.user("alice")
        head = f"POST /_matrix/media/v3/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
        async with wire_to(server.base_url) as wire:
            await wire.send(f"{head}Content-Length: 50001\r\n\r\n".encode())
            assert (await wire.head()).startswith(b"HTTP/1.1 413 ")
        async with wire_to(server.base_url) as wire:
            await wire.send(
                f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
                + b"c000\r\n"
                + b"x" * 0xC000
                + b"\r\n"
                + b"c000\r\n"
                + b"x" * 0xC000
                + b"\r\n0\r\n\r\n"
            )
            assert (await wire.head()).startswith(b"HTTP/1.1 413 ")
        async with wire_to(server.base_url) as wire:
            await wire.send(f"{head}Content-Length: 40000\r\n\r\n".encode() + b"x" * 20_000)

        async def is_clean() -> bool:
            return objects(server) == [] and await count(server, "media_leftovers") == 0

        await until(is_clean)
        assert await count(server, "media") == 0


async def test_what_a_crash_left_is_deleted(server: RunningServer) -> None:
    """T-K13: objects that nothing names, and parts of files that nobody writes any more."""
    alice = await server.user("alice")
    place = await upload(alice, b"kept", "text/plain")
    store = server.hansa.media.objects

    async def data() -> AsyncIterator[bytes]:
        yield b"left"

    await store.put("files/xx/left", data())
    await store.put("files/xx/running", data())
    await server.db.execute("INSERT INTO media_leftovers VALUES ('files/xx/left', 5), ('files/xx/running', 1e15)")
    await server.hansa.media.housekeeping.tidy()
    names = {path.name for path in objects(server)}
    assert "running" in names and "left" not in names and len(names) == 2
    assert (await download(alice, *place)).body == b"kept"


def shown(place: tuple[str, str]) -> dict[str, Any]:
    return {"msgtype": "m.image", "body": "x", "url": f"mxc://{place[0]}/{place[1]}"}


async def redact(client: Client, room_id: str, event_id: str) -> None:
    (await client.put("/rooms/{}/redact/{}/" + event_id[1:5].replace("/", ""), room_id, event_id)).ok()


async def test_what_no_event_shows_any_more_is_deleted(database_dsn: str) -> None:
    """T-K22, T-G11: with the last event that shows it, and not before; nobody else's redaction deletes it."""
    async with running_server(database_dsn, toml=AT_ONCE) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await bob.join(room_id)
        place = await upload(alice, b"a picture", "image/png")
        other = await upload(alice, b"in an encrypted room", "image/png")
        face = await upload(alice, b"a face", "image/png")
        (await alice.put("/profile/{}/avatar_url", alice.user_id, body={"avatar_url": f"mxc://{'/'.join(face)}"})).ok()
        events = [await alice.send(room_id, **shown(place)) for _ in range(2)]
        foreign = await bob.send(room_id, **shown(other))
        face_shown = await alice.send(room_id, **shown(face))
        await server.hansa.media.links.flush()
        for client, event_id in ((alice, events[0]), (bob, foreign), (alice, face_shown)):
            await redact(client, room_id, event_id)
        await server.hansa.media.links.flush()
        for there in (place, other, face):
            assert (await download(bob, *there)).status == 200
        await redact(alice, room_id, events[1])
        await server.hansa.media.links.flush()
        (await download(bob, *place)).refused(404, "M_NOT_FOUND")
        await server.hansa.media.housekeeping.tidy()
        assert len(objects(server)) == 2 and await count(server, "media") == 2


async def test_links_are_taken_up_after_a_crash(database_dsn: str) -> None:
    """T-G11: events and redactions that were written, and not yet looked at, when the server ended."""
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room(preset="private_chat")
        place = await upload(alice, b"a picture", "image/png")
        event_id = await alice.send(room_id, **shown(place))
        await redact(alice, room_id, event_id)
        # As if the task had never come to it.
        await server.db.execute("DELETE FROM media_links")
        await server.db.execute("DELETE FROM media_unshown")
        await server.db.execute("DELETE FROM journal_cursors WHERE consumer = 'media_links'")
        await server.db.execute("UPDATE media SET was_shown = false, hidden_ts = NULL")
    async with running_server(database_dsn) as server:

        async def is_hidden() -> bool:
            return await server.db.fetchval("SELECT hidden_ts FROM media") is not None

        await until(is_hidden)


async def test_purged_events_let_go_of_their_media(database_dsn: str) -> None:
    async with running_server(database_dsn, toml=AT_ONCE) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room(preset="private_chat")
        place = await upload(alice, b"a picture", "image/png")
        event_id = await alice.send(room_id, **shown(place))
        await server.hansa.media.links.flush()
        await server.db.execute("DELETE FROM events WHERE event_id = $1", event_id)
        await server.hansa.media.housekeeping.tidy()
        assert objects(server) == []


async def test_who_wants_to_be_forgotten_leaves_no_files(database_dsn: str) -> None:
    async with running_server(database_dsn, toml=AT_ONCE) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await bob.create_room(preset="private_chat")
        gone, quoted = await upload(alice, b"gone", "image/png"), await upload(alice, b"quoted", "image/png")
        await bob.send(room_id, **shown(quoted))
        await server.hansa.media.links.flush()
        auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "alice"}}
        body = {"auth": {**auth, "password": "correct horse battery"}, "erase": True}
        (await alice.post("/account/deactivate", body=body)).ok()
        await server.hansa.media.housekeeping.tidy()
        (await download(bob, *gone)).refused(404, "M_NOT_FOUND")
        assert (await download(bob, *quoted)).body == b"quoted"


async def test_downloads_have_limits(server: RunningServer) -> None:
    """T-K2: those without a token too."""
    declared = [
        found for found in server.hansa.endpoints if "/download/" in found.paths[0] or "/thumbnail/" in found.paths[0]
    ]
    client_side = [found for found in declared if "/_matrix/federation" not in found.paths[0]]
    assert len(client_side) == 6 and {found.limit for found in client_side} == {"media_download"}
