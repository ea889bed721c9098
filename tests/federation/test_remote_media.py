"""Files that two servers exchange, and what comes from a server that means harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.multipart import NotMultipart, Parts, boundary_of
from tests.api.test_media import download, picture, upload
from tests.kit.authority import Authority
from tests.kit.canned import answer, canned
from tests.kit.federation import federated_server
from tests.kit.postgres import PostgresForTests
from tests.kit.server import RunningServer
from tests.kit.until import until

TYPE = "Content-Type: multipart/mixed; boundary=b"


async def kept(server: RunningServer) -> int:
    found: int = await server.db.fetchval("SELECT count(*) FROM remote_media")
    return found


async def test_a_file_of_another_server_comes_once(here: RunningServer, there: RunningServer) -> None:
    """T-K2, T-K15: with a token alone; and what is barred here is barred whatever its origin says."""
    alice, bob = await there.user("alice"), await here.user("bob")
    data = picture(300, 200)
    place = await upload(alice, data, "image/png", filename="a b.png")
    path = f"/_matrix/client/v1/media/download/{place[0]}/{place[1]}"
    legacy = f"/_matrix/media/v3/download/{place[0]}/{place[1]}"
    (await here.anonymous().get(legacy)).refused(404, "M_NOT_FOUND")
    (await bob.get(path, allow_remote="false")).refused(404, "M_NOT_FOUND")
    assert await kept(here) == 0
    answers = await asyncio.gather(*(bob.get(path) for _ in range(4)))
    assert [found.body for found in answers] == [data] * 4
    assert answers[0].headers["Content-Type"] == "image/png"
    assert answers[0].headers["Content-Disposition"] == "inline; filename*=utf-8''a%20b.png"
    small = await bob.get(path.replace("download", "thumbnail"), width=32, height=32, method="crop")
    assert small.status == 200 and await kept(here) == 1
    await there.hansa.media.repository.delete([place[1]])
    assert (await download(bob, *place)).body == data
    await here.hansa.media.repository.set_quarantined(*place, True)
    (await download(bob, *place)).refused(404, "M_NOT_FOUND")
    nothing = await download(bob, place[0], "nothing")
    nothing.refused(404, "M_NOT_FOUND")


async def test_bytes_that_are_barred_stay_so_whoever_holds_them(here: RunningServer, there: RunningServer) -> None:
    """T-K15: barred there, they aren't given to us; barred here, they aren't shown under another server's name."""
    alice, bob = await there.user("alice"), await here.user("bob")
    barred, other = picture(40, 20), picture(50, 25)
    first = await upload(alice, barred, "image/png")
    await there.hansa.media.repository.set_quarantined(*first, True)
    (await download(bob, *first)).refused(404, "M_NOT_FOUND")
    own, theirs = await upload(bob, other, "image/png"), await upload(alice, other, "image/png")
    await here.hansa.media.repository.set_quarantined(*own, True)
    assert (await download(alice, *theirs)).body == other
    (await download(bob, *theirs)).refused(404, "M_NOT_FOUND")
    path = f"/_matrix/client/v1/media/thumbnail/{theirs[0]}/{theirs[1]}"
    (await bob.get(path, width=32, height=32)).refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize(("access", "status"), [("open", 404), ("open_fetching", 200)])
async def test_who_has_no_token_has_files_fetched_where_the_operator_wants_it(
    there: RunningServer, postgres: PostgresForTests, authority: Authority, access: str, status: int
) -> None:
    """T-K2: `open` gives strangers this server's own files alone."""
    alice = await there.user("alice")
    data = picture(300, 200)
    server_name, media_id = await upload(alice, data, "image/png")
    toml = f'[media]\nlegacy_access = "{access}"'
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=toml) as server:
        nobody, own = server.anonymous(), await upload(await server.user("bob"), data, "image/png")
        assert (await nobody.get("/_matrix/media/v3/download/" + "/".join(own))).status == 200
        found = await nobody.get(f"/_matrix/media/v3/download/{server_name}/{media_id}")
        small = await nobody.get(
            f"/_matrix/media/v3/thumbnail/{server_name}/{media_id}", width=32, height=32, method="crop"
        )
        assert (found.status, small.status) == (status, status)
        assert status == 404 or found.body == data


async def test_thumbnails_for_servers(here: RunningServer, there: RunningServer) -> None:
    alice = await there.user("alice")
    _, media_id = await upload(alice, picture(300, 200), "image/png")
    assert here.hansa.federation is not None
    path = f"/_matrix/federation/v1/media/thumbnail/{media_id}?width=32&height=32&method=crop"
    name = there.hansa.config.server_name
    client = here.hansa.federation.client
    async with client.download(name, path, timeout_s=10, response_bytes_max=100_000) as got:  # type: ignore[arg-type]
        parts = Parts(got.pieces, boundary_of(got.headers["Content-Type"]))
        assert (await parts.next_part())["content-type"] == "application/json"
        assert (await parts.next_part())["content-type"] == "image/png"
        body = b"".join([piece async for piece in parts.body()])
        assert body.startswith(b"\x89PNG") and body.endswith(b"IEND\xaeB`\x82")


async def test_files_of_others_go_when_nobody_wants_them(here: RunningServer, there: RunningServer) -> None:
    """T-K3: after a while, and before that those unused longest where they are too much."""
    alice, bob = await there.user("alice"), await here.user("bob")
    places = [await upload(alice, bytes([number]) * 1000, "text/plain") for number in range(3)]
    for place in places:
        assert (await download(bob, *place)).status == 200
    await here.db.execute("UPDATE remote_media SET used_ts = 5 WHERE media_id = $1", places[0][1])
    assert here.hansa.media.remote is not None
    await here.hansa.media.remote.tidy()
    assert await kept(here) == 2
    folder = here.hansa.config.media.store_path
    assert len([path for path in (folder / "files").rglob("*") if path.is_file()]) == 2


async def test_what_is_barred_is_not_fetched_anew(here: RunningServer, there: RunningServer) -> None:
    """T-K15: tidying up lets nothing out of quarantine."""
    alice, bob = await there.user("alice"), await here.user("bob")
    places = [await upload(alice, bytes([number]) * 1000, "text/plain") for number in range(2)]
    for place in places:
        assert (await download(bob, *place)).status == 200
    await here.hansa.media.repository.set_quarantined(*places[0], True)
    await here.db.execute("UPDATE remote_media SET used_ts = 5")
    assert here.hansa.media.remote is not None
    await here.hansa.media.remote.tidy()
    assert await kept(here) == 1
    (await download(bob, *places[0])).refused(404, "M_NOT_FOUND")
    assert (await download(bob, *places[1])).status == 200


async def test_room_for_files_of_others_is_bounded(
    postgres: PostgresForTests, authority: Authority, there: RunningServer
) -> None:
    """T-K3: a cache, not a store for anybody's files. The smallest takes a block of the disk, and is counted so."""
    toml = "[media]\nremote_bytes_max = 10_000\n"
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=toml) as here:
        alice, bob = await there.user("alice"), await here.user("bob")
        for size in (5000, 4500, 10, 4, 1, 1000, 4999, 2):
            place = await upload(alice, bytes([size % 256]) * size, "text/plain")
            assert (await download(bob, *place)).body == bytes([size % 256]) * size
            assert await kept(here) <= 2


@pytest.mark.parametrize(
    ("toml", "statuses"),
    [
        ("fetched_bytes_user = {per_second = 1, burst = 10_000}\nfetched_bytes_host = false", (200, 200, 429, 200)),
        ("fetched_bytes_host = {per_second = 1, burst = 10_000}\nfetched_bytes_user = false", (200, 200, 429, 429)),
        ("enabled = false", (200, 200, 200, 200)),
    ],
)
async def test_nobody_has_more_fetched_than_they_may(
    postgres: PostgresForTests, authority: Authority, there: RunningServer, toml: str, statuses: tuple[int, ...]
) -> None:
    """T-K3: by user, and from one server; what is here is given to everybody."""
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=f"[rate_limits]\n{toml}\n") as here:
        alice, bob, carol = await there.user("alice"), await here.user("bob"), await here.user("carol")
        first, second, third = [await upload(alice, bytes([number]) * 9000, "text/plain") for number in range(3)]
        found = [
            await download(bob, *first),
            await download(bob, *first),
            await download(bob, *second),
            await download(carol, *third),
        ]
        assert tuple(answered.status for answered in found) == statuses
        for answered in found:
            assert answered.status == 200 or answered.refused(429, "M_LIMIT_EXCEEDED")["retry_after_ms"] > 1_000_000


async def test_nobody_takes_all_the_fetches(postgres: PostgresForTests, authority: Authority) -> None:
    """T-K3: whoever has friends with slow servers has part of the fetches held by them, and others the rest."""
    toml = "[media]\nupload_patience_s = 5\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{TYPE}\r\n\r\n--b\r\n\r\n{{}}\r\n--b\r\n\r\nx"
    heard: list[str] = []

    def say(asked: str) -> bytes:
        if "/media/" not in asked:
            return answer(b"{}", status=404)
        heard.append(asked)
        return head.encode()

    async def has_heard(count: int) -> bool:
        return len(heard) == count

    context = authority.server_context("localhost")
    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, authority, toml=toml) as here,
        canned(say, tls=context, hangs=True) as one,
        canned(say, tls=context, hangs=True) as two,
        canned(say, tls=context, hangs=True) as three,
        canned(say, tls=context, hangs=True) as four,
    ):
        bob, carol = await here.user("bob"), await here.user("carol")
        places = [(f"localhost:{server.port}", f"m{n}") for server in (one, two, three, four) for n in range(7)]
        asking = [asyncio.ensure_future(download(bob, *place)) for place in places[:25]]
        await until(lambda: has_heard(25))
        (await download(bob, *places[25])).refused(429, "M_LIMIT_EXCEEDED")
        asking.append(asyncio.ensure_future(download(carol, *places[26])))
        await until(lambda: has_heard(26))
        for found in await asyncio.gather(*asking):
            found.refused(504, "M_UNKNOWN")


async def test_a_file_that_is_too_large_is_the_other_servers_fault(
    postgres: PostgresForTests, authority: Authority, there: RunningServer
) -> None:
    """spec: client-server-api/#content-repo-security-considerations: 502, where one of ours would be 413."""
    toml = "[media]\nupload_bytes_max = 10000\n"
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=toml) as here:
        alice, bob = await there.user("alice"), await here.user("bob")
        place = await upload(alice, b"x" * 11_000, "image/png")
        (await download(bob, *place)).refused(502, "M_TOO_LARGE")
        thumbnail = "/_matrix/client/v1/media/thumbnail/{}/{}"
        (await bob.get(thumbnail, *place, width=32, height=32)).refused(502, "M_TOO_LARGE")


@pytest.mark.parametrize(
    ("said", "status"),
    [
        (answer(b"x", "Content-Type: image/png"), 502),
        (answer(b"--b\r\n\r\n{}\r\n--b\r\n\r\nhalf", TYPE), 502),
        (answer(b"--b\r\n\r\n{}\r\n--b--\r\n", TYPE), 502),
        (answer(b"--b\r\n\r\n" + b"x" * 100_000 + b"\r\n--b\r\n\r\nx\r\n--b--", TYPE), 502),
        (answer(b"--b\r\n\r\n{}\r\n--b\r\nA: " + b"x" * 50_000 + b"\r\n\r\nx\r\n--b--", TYPE), 502),
        (answer(b"x", "Content-Type: multipart/mixed"), 502),
        (answer(b"--b\r\n\r\n{}\r\n--b\r\nLocation: http://127.0.0.2:1/x\r\n\r\n\r\n--b--", TYPE), 502),
        (answer(b"--b\r\n\r\n{}\r\n--b\r\nLocation: file:///etc/passwd\r\n\r\n\r\n--b--", TYPE), 502),
        (answer(b'{"errcode": "M_UNKNOWN_TOKEN"}', status=401), 404),
        (answer(b'{"errcode": "M_NOT_YET_UPLOADED"}', status=504), 504),
        (answer(b'{"errcode": "M_TOO_LARGE"}', status=413), 502),
        (answer(b"--b\r\n\r\n{}\r\n--b\r\nContent-Type: text/html\r\n\r\nfine\r\n--b--", TYPE), 200),
        (answer(b"--b  \r\n\r\n{}\r\n--b\r\n\r\n\r\n--b--", TYPE), 200),
    ],
)
async def test_a_server_that_means_harm(here: RunningServer, authority: Authority, said: bytes, status: int) -> None:
    """T-K4, T-K12, T-L10: broken, endless and misleading answers harm nobody; nor do they log anybody out."""
    bob = await here.user("bob")

    def say(head: str) -> bytes:
        return said if "/media/" in head else answer(b"{}", status=404)

    async with canned(say, tls=authority.server_context("localhost")) as server:
        found = await download(bob, f"localhost:{server.port}", "abc")
        assert found.status == status
        if status == 200:
            assert found.body in (b"fine", b"") and found.headers["Content-Disposition"].startswith("attachment")
        assert await kept(here) == (status == 200)


@given(
    st.lists(st.binary(max_size=300) | st.sampled_from([b"\r\n--b", b"\r\n--", b"\r\n", b"--b--"]), max_size=6),
    st.integers(1, 50),
)
async def test_what_is_put_in_comes_out(chunks: list[bytes], size: int) -> None:
    """T-K12: wherever the network cuts it."""
    data = b"".join(chunks)
    boundary = "some-other-boundary"
    whole = f"--{boundary}\r\n\r\n{{}}\r\n--{boundary}\r\nA: b\r\n\r\n".encode() + data + f"\r\n--{boundary}--".encode()

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(whole), size):
            yield whole[start : start + size]

    parts = Parts(pieces(), boundary)
    await parts.next_part()
    assert await parts.next_part() == {"a": "b"}
    assert b"".join([piece async for piece in parts.body()]) == data


@given(st.binary(max_size=400), st.integers(1, 50))
async def test_any_bytes_are_parts_or_none(data: bytes, size: int) -> None:
    """T-K12: no other error, and an end."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(data), size):
            yield data[start : start + size]

    parts = Parts(pieces(), "b")
    try:
        await parts.next_part()
        await parts.next_part()
        async for _ in parts.body():
            pass
    except NotMultipart:
        pass


async def test_a_server_that_trickles_is_given_up(postgres: PostgresForTests, authority: Authority) -> None:
    """T-K13: it holds none of the few fetches there may be at once, and leaves nothing behind."""
    toml = "[media]\nupload_patience_s = 0.2\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n{TYPE}\r\n\r\n--b\r\n\r\n{{}}\r\n--b\r\n\r\nx"

    def say(asked: str) -> bytes:
        return head.encode() if "/media/" in asked else answer(b"{}", status=404)

    async with (
        postgres.fresh() as dsn,
        federated_server(dsn, authority, toml=toml) as here,
        canned(say, tls=authority.server_context("localhost"), hangs=True) as server,
    ):
        bob = await here.user("bob")
        async with asyncio.timeout(100):
            (await download(bob, f"localhost:{server.port}", "abc")).refused(504, "M_UNKNOWN")
        assert await kept(here) == 0
