"""Uploads that are interrupted and gone on with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from pathlib import Path
from typing import Any

from tests.api.test_media import download
from tests.api.test_media_kept import count
from tests.kit.raw_http import wire_to
from tests.kit.server import Answered, Client, RunningServer, running_server
from tests.kit.until import a_moment, until

PATH = "/_matrix/client/unstable/org.hansa.tus/uploads"
TUS = {"Tus-Resumable": "1.0.0"}
TYPE = {"Content-Type": "application/offset+octet-stream"}
DATA = bytes(range(256)) * 4000


def told(answer: Answered, name: str) -> str:
    return next(value for key, value in answer.headers.items() if key.lower() == name.lower())


async def created(client: Client, length: int = len(DATA), **more: str) -> tuple[str, str]:
    """The upload's path, and the mxc URI's server and id."""
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in more.items())
    headers = {**TUS, "Upload-Length": str(length), "Upload-Metadata": metadata}
    answer = await client.request("POST", PATH, headers=headers)
    assert answer.status == 201, answer.body
    return told(answer, "Location"), answer.json["content_uri"].removeprefix("mxc://")


async def patch(client: Client, path: str, offset: int, data: bytes) -> Answered:
    return await client.request("PATCH", path, data=data, headers={**TUS, **TYPE, "Upload-Offset": str(offset)})


async def offset(client: Client, path: str) -> int:
    answer = await client.request("HEAD", path, headers=TUS)
    assert answer.status == 200
    return int(told(answer, "Upload-Offset"))


def spooled(server: RunningServer) -> list[Path]:
    return list((server.hansa.config.media.store_path / "spool").glob("*"))


async def test_an_upload_goes_on_after_a_restart(database_dsn: str, tmp_path: Path) -> None:
    toml = f'[media]\nstore_path = "{tmp_path / "media"}"\n'
    async with running_server(database_dsn, toml=toml) as server:
        alice = await server.user("alice")
        path, place = await created(alice, filename="a b.mp4", filetype="video/mp4")
        assert await offset(alice, path) == 0
        assert told(await patch(alice, path, 0, DATA[:300_000]), "Upload-Offset") == "300000"
        # A connection that breaks off: what has come stays.
        async with wire_to(server.base_url) as wire:
            head = (
                f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\nUpload-Offset: 300000\r\n"
            )
            lines = (
                "Tus-Resumable: 1.0.0\r\nContent-Type: application/offset+octet-stream\r\nContent-Length: 500000\r\n"
            )
            await wire.send(f"{head}{lines}\r\n".encode() + DATA[300_000:400_000])

            async def has_come() -> bool:
                return spooled(server)[0].stat().st_size == 400_000

            await until(has_come)
    async with running_server(database_dsn, toml=toml) as server:
        alice, bob = await server.login("alice"), await server.user("bob")
        at = await offset(alice, path)
        assert at == 400_000
        waiting = asyncio.create_task(bob.get(f"/_matrix/client/v1/media/download/{place}", timeout_ms=20_000))
        assert (await patch(alice, path, at, DATA[at:])).status == 204
        found = await waiting
        assert found.body == DATA and found.headers["Content-Type"] == "video/mp4"
        assert found.headers["Content-Disposition"] == "inline; filename*=utf-8''a%20b.mp4"
        assert await offset(alice, path) == len(DATA) and spooled(server) == []


async def test_an_upload_is_its_makers_and_has_its_length(server: RunningServer) -> None:
    """T-K13, T-K14: nobody else's, never past what was announced, and in order."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path, place = await created(alice, 100)
    for answer in (
        await patch(bob, path, 0, b"x"),
        await bob.request("DELETE", path, headers=TUS),
        await patch(alice, PATH + "/..%2Fother", 0, b"x"),
    ):
        answer.refused(404, "M_NOT_FOUND")
    assert (await patch(alice, path, 5, b"x")).status == 409
    (await patch(alice, path, 0, b"x" * 101)).refused(413, "M_TOO_LARGE")
    assert await offset(alice, path) == 0
    assert (await patch(alice, path, 0, b"x" * 100)).status == 204
    assert (await patch(alice, path, 100, b"")).status == 409
    assert (await download(bob, *place.split("/"))).body == b"x" * 100


async def test_what_is_cancelled_or_late_leaves_nothing(server: RunningServer) -> None:
    """T-K14: and counts no more among the pending."""
    alice = await server.user("alice")
    for _ in range(7):
        path, _ = await created(alice, 100)
        await patch(alice, path, 0, b"half")
        assert (await alice.request("DELETE", path, headers=TUS)).status == 204
    assert spooled(server) == [] and await count(server, "media") == 0
    path, _ = await created(alice, 100)
    await patch(alice, path, 0, b"half")
    await server.db.execute("UPDATE media_uploads SET expires_ts = 5")
    (await patch(alice, path, 4, b"late")).refused(404, "M_NOT_FOUND")
    await server.hansa.media.uploads.tidy()
    assert spooled(server) == [] and await count(server, "media_uploads") == 0


async def test_what_isnt_the_protocol_is_refused(database_dsn: str) -> None:
    async with running_server(database_dsn, toml="[media]\nuser_bytes_max = 5000\nupload_bytes_max = 9000\n") as server:
        alice = await server.user("alice")
        offer = await server.anonymous().request("OPTIONS", PATH)
        assert (offer.status, told(offer, "Tus-Max-Size"), told(offer, "Tus-Version")) == (204, "9000", "1.0.0")
        wrong: list[tuple[int, dict[str, Any]]] = [
            (412, {"Upload-Length": "5"}),
            (400, {**TUS}),
            (400, {**TUS, "Upload-Length": "-5"}),
            (400, {**TUS, "Upload-Length": "5", "Upload-Metadata": "filename ä"}),
            (413, {**TUS, "Upload-Length": "9001"}),
            (403, {**TUS, "Upload-Length": "5001"}),
        ]
        for status, headers in wrong:
            assert (await alice.request("POST", PATH, headers=headers)).status == status
        path, _ = await created(alice, 10)
        plain = {**TUS, "Upload-Offset": "0", "Content-Type": "text/plain"}
        assert (await alice.request("PATCH", path, data=b"x", headers=plain)).status == 415
        assert await count(server, "media") == 1
        # Every answer is one of the protocol, a refusal too.
        refused = await alice.request("PATCH", path, data=b"x", headers={"Tus-Resumable": "0.2.2"})
        assert (refused.status, told(refused, "Tus-Version"), told(refused, "Tus-Resumable")) == (412, "1.0.0", "1.0.0")
        assert told(await patch(alice, path, 5, b"x"), "Tus-Resumable") == "1.0.0"


async def test_an_empty_file_is_there_at_once(server: RunningServer) -> None:
    """Nobody sends nothing: its upload ends where it begins."""
    alice = await server.user("alice")
    path, place = await created(alice, 0, filename="empty.txt", filetype="text/plain")
    found = await download(alice, *place.split("/"))
    assert (found.status, found.body, found.headers["Content-Type"]) == (200, b"", "text/plain")
    assert await offset(alice, path) == 0


async def test_pieces_that_were_damaged_on_the_way_are_thrown_away(server: RunningServer) -> None:
    """https://tus.io/protocols/resumable-upload#checksum"""
    alice = await server.user("alice")
    offer = await server.anonymous().request("OPTIONS", PATH)
    assert "checksum" in told(offer, "Tus-Extension") and told(offer, "Tus-Checksum-Algorithm") == "sha1,sha256"
    path, place = await created(alice, 8)
    sums = {name: base64.b64encode(hashlib.new(name, b"good").digest()).decode() for name in ("sha1", "sha256")}

    async def send(at: int, data: bytes, checksum: str) -> Answered:
        headers = {**TUS, **TYPE, "Upload-Offset": str(at), "Upload-Checksum": checksum}
        return await alice.request("PATCH", path, data=data, headers=headers)

    for wrong in ("crc32 AAAA", "sha1", "sha1 !", ""):
        assert (await send(0, b"good", wrong)).status == 400
    assert (await send(0, b"goox", f"sha1 {sums['sha1']}")).status == 460
    assert await offset(alice, path) == 0
    assert (await send(0, b"good", f"sha1 {sums['sha1']}")).status == 204
    assert (await send(4, b"xood", f"sha256 {sums['sha256']}")).status == 460
    assert await offset(alice, path) == 4
    # What can't be checked, as it broke off, is not believed either.
    async with wire_to(server.base_url) as wire:
        head = (
            f"PATCH {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\nUpload-Offset: 4\r\n"
            f"Tus-Resumable: 1.0.0\r\nContent-Type: {TYPE['Content-Type']}\r\nContent-Length: 4\r\n"
            f"Upload-Checksum: sha1 {sums['sha1']}\r\n\r\n"
        )
        await wire.send(head.encode() + b"go")
        await a_moment()

    async def is_free() -> bool:
        return (await send(4, b"good", f"sha256 {sums['sha256']}")).status == 204

    await until(is_free)
    assert (await download(alice, *place.split("/"))).body == b"goodgood"


async def test_who_knows_no_patch_asks_by_post(server: RunningServer) -> None:
    """https://tus.io/protocols/resumable-upload#x-http-method-override"""
    alice = await server.user("alice")
    path, place = await created(alice, 4)
    headers = {**TUS, **TYPE, "Upload-Offset": "0", "X-HTTP-Method-Override": "PATCH"}
    answer = await alice.request("POST", path, data=b"good", headers=headers)
    assert (answer.status, told(answer, "Upload-Offset")) == (204, "4")
    assert (await download(alice, *place.split("/"))).body == b"good"
    assert (await alice.request("POST", path, headers=TUS)).status == 405
    other, _ = await created(alice, 4)
    assert (await alice.request("POST", other, headers={**TUS, "X-HTTP-Method-Override": "DELETE"})).status == 204
    assert (await alice.request("HEAD", other, headers=TUS)).status == 404


async def test_the_first_piece_comes_with_the_creation(server: RunningServer) -> None:
    """T-K14: https://tus.io/protocols/resumable-upload#creation-with-upload; what is refused leaves nothing."""
    alice = await server.user("alice")
    assert "creation-with-upload" in told(await server.anonymous().request("OPTIONS", PATH), "Tus-Extension")

    async def create(data: bytes, length: int, checksum: str | None = None) -> Answered:
        headers = {**TUS, **TYPE, "Upload-Length": str(length)} | ({"Upload-Checksum": checksum} if checksum else {})
        return await alice.request("POST", PATH, data=data, headers=headers)

    begun = await create(b"good", 8)
    assert (begun.status, told(begun, "Upload-Offset")) == (201, "4")
    assert (await patch(alice, told(begun, "Location"), 4, b"file")).status == 204
    place = begun.json["content_uri"].removeprefix("mxc://").split("/")
    assert (await download(alice, *place)).body == b"goodfile"
    whole = await create(b"all", 3)
    assert (whole.status, told(whole, "Upload-Offset")) == (201, "3")
    assert (await download(alice, *whole.json["content_uri"].removeprefix("mxc://").split("/"))).body == b"all"
    assert told(await create(b"", 0), "Upload-Offset") == "0"
    there = await count(server, "media")
    wrong = base64.b64encode(hashlib.sha1(b"other", usedforsecurity=False).digest()).decode()
    for _ in range(4):
        (await create(b"too much", 3)).refused(413, "M_TOO_LARGE")
        assert (await create(b"all", 3, checksum=f"sha1 {wrong}")).status == 460
    assert (await create(b"all", 3, checksum="crc32 AAAA")).status == 400
    assert spooled(server) == [] and await count(server, "media") == there
