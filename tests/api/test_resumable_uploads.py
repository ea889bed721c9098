"""Uploads that are interrupted and gone on with."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path
from typing import Any

from tests.api.test_media import download
from tests.api.test_media_kept import count
from tests.kit.raw_http import wire_to
from tests.kit.server import Answered, Client, RunningServer, running_server
from tests.kit.until import until

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
