"""Media over HTTP: what goes in comes out, and nothing of it runs in a browser."""

from __future__ import annotations

import io
from typing import Any

import pytest
from PIL import Image

from tests.kit.server import Answered, Client, RunningServer


def picture(width: int, height: int, kind: str = "PNG") -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(output, kind)
    return output.getvalue()


async def upload(client: Client, data: bytes, content_type: str, **query: Any) -> tuple[str, str]:
    """Server name and media id of a new file."""
    answer = await client.request(
        "POST", "/_matrix/media/v3/upload", data=data, query=query, headers={"Content-Type": content_type}
    )
    server_name, media_id = answer.ok()["content_uri"].removeprefix("mxc://").split("/")
    return server_name, media_id


async def download(client: Client, server_name: str, media_id: str, tail: str = "") -> Answered:
    return await client.get(f"/_matrix/client/v1/media/download/{server_name}/{media_id}{tail}")


async def test_a_file_comes_back_as_it_went_in(server: RunningServer) -> None:
    alice = await server.user("alice")
    data = bytes(range(256)) * 4000
    place = await upload(alice, data, "image/png", filename="a b.png")
    found = await download(alice, *place)
    assert (found.status, found.body, found.headers["Content-Type"]) == (200, data, "image/png")
    assert found.headers["Content-Disposition"] == "inline; filename*=utf-8''a%20b.png"
    named = await download(alice, *place, "/other.png")
    assert named.headers["Content-Disposition"] == "inline; filename=other.png"


@pytest.mark.parametrize("content_type", ["text/html", "image/svg+xml", "application/javascript", "text/html\tx"])
async def test_nothing_that_can_run_is_shown_in_place(server: RunningServer, content_type: str) -> None:
    """T-K9: an uploaded page is offered as a download, in a sandbox."""
    alice = await server.user("alice")
    found = await download(alice, *(await upload(alice, b"<script>alert(1)</script>", content_type)))
    assert found.headers["Content-Disposition"].startswith("attachment")
    assert found.headers["Content-Security-Policy"].startswith("sandbox")
    assert found.headers["X-Content-Type-Options"] == "nosniff"


async def test_no_second_type_hides_in_the_first(server: RunningServer) -> None:
    """T-K9, T-K10: neither of an upload nor of a file that was kept before; what looks harmless is shown in place."""
    alice = await server.user("alice")
    place = await upload(alice, b"<script>alert(1)</script>", "text/plain;,text/html")
    found = await download(alice, *place)
    assert "html" not in found.headers["Content-Type"]
    await server.db.execute("UPDATE media SET content_type = 'text/plain;,text/html' WHERE media_id = $1", place[1])
    found = await download(alice, *place)
    assert "html" not in found.headers["Content-Type"]


async def test_a_file_name_stays_in_its_header(server: RunningServer) -> None:
    """T-K11: no upload adds headers to an answer."""
    alice = await server.user("alice")
    found = await download(alice, *(await upload(alice, b"x", "text/plain", filename='a"\r\nSet-Cookie: b=c; ../d')))
    assert "Set-Cookie" not in found.headers
    assert "%0D" not in found.headers["Content-Disposition"] and "\r" not in found.headers["Content-Disposition"]


async def test_media_need_a_token(server: RunningServer) -> None:
    alice = await server.user("alice")
    server_name, media_id = await upload(alice, b"x", "text/plain")
    nobody = server.anonymous()
    (await download(nobody, server_name, media_id)).refused(401, "M_MISSING_TOKEN")
    (await nobody.get(f"/_matrix/media/v3/download/{server_name}/{media_id}")).refused(404, "M_NOT_FOUND")


async def test_an_id_is_filled_once_and_by_its_maker(server: RunningServer) -> None:
    """T-K14: a created id is its maker's, for one file."""
    alice, bob = await server.user("alice"), await server.user("bob")
    uri = (await alice.post("/_matrix/media/v1/create")).ok()["content_uri"]
    server_name, media_id = uri.removeprefix("mxc://").split("/")
    path = f"/_matrix/media/v3/upload/{server_name}/{media_id}"
    waiting = await alice.get(f"/_matrix/client/v1/media/download/{server_name}/{media_id}", timeout_ms=0)
    waiting.refused(504, "M_NOT_YET_UPLOADED")
    (await bob.request("PUT", path, data=b"bob")).refused(403, "M_FORBIDDEN")
    (await alice.request("PUT", path, data=b"alice")).ok()
    (await alice.request("PUT", path, data=b"again")).refused(409, "M_CANNOT_OVERWRITE_MEDIA")
    assert (await download(bob, server_name, media_id)).body == b"alice"


async def test_thumbnails_have_the_size_that_is_configured(server: RunningServer) -> None:
    alice = await server.user("alice")
    server_name, media_id = await upload(alice, picture(1000, 500), "image/png")
    path = f"/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}"
    for wanted, method, expected in (
        ((30, 30), "crop", (32, 32)),
        ((300, 200), "scale", (320, 160)),
        # Avatars on screens with small pixels: never smaller than what was asked for.
        ((192, 192), "crop", (320, 320)),
        ((480, 480), "crop", (500, 500)),
    ):
        found = await alice.get(path, width=wanted[0], height=wanted[1], method=method)
        assert found.status == 200, found.body
        made = Image.open(io.BytesIO(found.body))
        assert (made.size, made.format) == (expected, "PNG")
        assert found.headers["Content-Disposition"] == "inline; filename=thumbnail.png"
    (await alice.get(path, width=0, height=5)).refused(400, "M_INVALID_PARAM")


async def test_a_pixel_bomb_makes_no_thumbnail(server: RunningServer) -> None:
    """T-K6: a small file that says it is a huge picture is refused before it is decoded."""
    alice = await server.user("alice")
    bomb = picture(1, 1)
    bomb = bomb[:16] + (60_000).to_bytes(4, "big") * 2 + bomb[24:]
    server_name, media_id = await upload(alice, bomb, "image/png")
    answer = await alice.get(f"/_matrix/client/v1/media/thumbnail/{server_name}/{media_id}", width=32, height=32)
    answer.refused(400, "M_UNKNOWN")


@pytest.mark.parametrize("media_id", ["..%2F..%2Fsigning.key", "%2e%2e", "a%00b", "nothing", "a" * 300])
async def test_strange_ids_name_nothing(server: RunningServer, media_id: str) -> None:
    """T-K1: an id never becomes a path."""
    alice = await server.user("alice")
    answer = await alice.get(f"/_matrix/client/v1/media/download/hansa.test/{media_id}")
    assert answer.status in (400, 404)
