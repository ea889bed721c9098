"""Previews of web pages, and what nobody gets to see or to reach by them."""

from __future__ import annotations

import gzip
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import quote

import pytest

from tests.api.test_media import download, picture
from tests.kit.canned import Canned, answer, canned
from tests.kit.server import Answered, Client, RunningServer, running_server

PATH = "/_matrix/client/v1/media/preview_url"
LAB = '[federation]\nallow_ip_ranges = ["127.0.0.1/32"]\n'
HTML = "Content-Type: text/html; charset=utf-8"


def page(*head: str, body: str = "") -> bytes:
    return answer(f"<html><head>{''.join(head)}</head><body>{body}</body></html>".encode(), HTML)


def og(name: str, content: str) -> str:
    return f'<meta property="og:{name}" content="{content}">'


@asynccontextmanager
async def web(pages: dict[str, bytes], host: str = "127.0.0.1") -> AsyncIterator[Canned]:
    """A web server with these pages."""

    def say(head: str) -> bytes:
        return pages.get(head.split(" ")[1], answer(b"", status=404))

    async with canned(say, host=host) as server:
        yield server


async def preview(client: Client, url: str) -> Answered:
    return await client.get(PATH, url=url)


async def test_a_page_is_shown_by_what_it_says_of_itself(database_dsn: str) -> None:
    """T-K21: fetched once for everybody, without a word about who asked; text alone, and of bounded length."""
    image = picture(300, 200)
    pages = {
        "/page?a=b": page(
            "<title>not this</title>",
            og("title", "A &lt;b&gt;title&lt;/b&gt;\n" + "x" * 1000),
            og("description", "Über  uns"),
            og("site_name", "Site"),
            og("image", "/pictures/1.png"),
            '<script>document.title = "evil"</script>',
        ),
        "/pictures/1.png": answer(image, "Content-Type: image/png"),
    }
    async with running_server(database_dsn, toml=LAB) as server, web(pages) as site:
        alice, bob = await server.user("alice"), await server.user("bob")
        url = f"http://127.0.0.1:{site.port}/page?a=b#part"
        found = (await preview(alice, url)).ok()
        assert found["og:title"].startswith("A <b>title</b> xxx") and len(found["og:title"]) == 300
        assert (found["og:description"], found["og:site_name"]) == ("Über uns", "Site")
        assert (found["og:image:width"], found["og:image:height"]) == (300, 200)
        assert found["matrix:image:size"] == len(image)
        server_name, media_id = found["og:image"].removeprefix("mxc://").split("/")
        assert (await download(alice, server_name, media_id)).body == image
        legacy = (await bob.get("/_matrix/media/v3/preview_url", url=url, ts=5)).ok()
        assert legacy == found and len(site.heard) == 2
        for head in site.heard:
            names = {line.partition(":")[0].lower() for line in head.splitlines()[1:]}
            assert not names & {"cookie", "referer", "authorization", "x-forwarded-for", "origin"}
        # Out of date, it goes with its picture.
        await server.db.execute("UPDATE url_previews SET expires_ts = 5")
        await server.hansa.media.housekeeping.tidy()
        assert await server.db.fetchval("SELECT count(*) FROM media") == 0


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "0.0.0.0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "2130706433",
        "0x7f.1",
        "10.0.0.1",
        "169.254.169.254",
        "192.168.1.1",
        "[fe80::1]",
        "[fd00::1]",
    ],
)
async def test_no_preview_reaches_into_the_network_of_the_server(server: RunningServer, host: str) -> None:
    """T-K19, T-K20, T-L2, T-L4: however an address is written; the answer is that for a page that isn't there."""
    async with web({"/": page("<title>secret</title>")}) as site:
        alice = await server.user("alice")
        refused = await preview(alice, f"http://{host}:{site.port}/")
        missing = await preview(alice, "http://nowhere.invalid/")
        assert refused.refused(404, "M_NOT_FOUND") == missing.refused(404, "M_NOT_FOUND")
        assert site.heard == []


@pytest.mark.parametrize(
    "naming",
    [
        lambda url: page("<title>x</title>", og("image", url)),
        lambda url: page(f'<title>x</title><link rel="alternate" type="application/json+oembed" href="{url}">'),
        lambda url: page("<title>x</title>", body=f'<img src="{url}">'),
        lambda url: answer(b"", f"Location: {url}", status=302),
    ],
)
async def test_what_a_page_names_goes_the_same_way(database_dsn: str, naming: Callable[[str], bytes]) -> None:
    """T-K18, T-K4, T-L7: pictures, oEmbed and redirects are denied what the page's own address would be."""
    async with web({"/": answer(b"{}", "Content-Type: application/json")}, host="127.0.0.2") as inner:
        pages = {"/": naming(f"http://127.0.0.2:{inner.port}/")}
        async with running_server(database_dsn, toml=LAB) as server, web(pages) as site:
            alice = await server.user("alice")
            found = await preview(alice, f"http://127.0.0.1:{site.port}/")
            assert inner.heard == [] and len(site.heard) == 1
            assert found.status == 404 or ("og:image" not in found.json and found.json["og:title"] == "x")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/",
        "file:///etc/passwd",
        "http://",
        "http:///path",
        "http://user:secret@example.org/",
        "http://example.org:99999/",
        "http://exa\nmple.org/",
        "http://[::1",
        "http://" + "x" * 3000,
        "javascript:alert(1)",
        "http://\ud83d\ude00" + "a" * 80 + ".example/",
    ],
)
async def test_other_addresses_are_refused(server: RunningServer, url: str) -> None:
    alice = await server.user("alice")
    answered = await alice.get(PATH + "?url=" + quote(url.encode("utf-8", "surrogatepass"), safe=""))
    assert answered.status in (400, 404) and answered.json["errcode"] in ("M_INVALID_PARAM", "M_NOT_FOUND")


async def test_a_page_without_end_or_bottom_is_shown_as_far_as_it_is_read(database_dsn: str) -> None:
    """T-K16, T-K17: nesting breaks nothing, endless pages are read for a while, endless streams not at all."""
    deep = "<title>deep</title>" + "<div>" * 150_000 + "text"
    long = "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nContent-Length: 1000000000\r\n\r\n"
    pages = {
        "/deep": answer(deep.encode(), HTML, "Connection: close"),
        "/long": long.format("text/html").encode() + b"<title>long</title>" + b"<p>x</p>" * 200_000,
        "/radio": long.format("audio/mpeg").encode() + b"x" * 100,
        "/packed": answer(b"\x1f\x8b", HTML, "Content-Encoding: gzip"),
        "/archive": answer(b"PK", "Content-Type: application/zip"),
    }
    async with running_server(database_dsn, toml=LAB + "[previews]\ntimeout_s = 5\n") as server:
        alice = await server.user("alice")
        async with canned(lambda head: pages[head.split(" ")[1]], hangs=True) as site:
            base = f"http://127.0.0.1:{site.port}"
            assert (await preview(alice, base + "/deep")).ok()["og:title"] == "deep"
            assert (await preview(alice, base + "/long")).ok()["og:title"] == "long"
            assert (await preview(alice, base + "/radio")).ok() == {"og:url": base + "/radio"}
            assert (await preview(alice, base + "/archive")).ok() == {"og:url": base + "/archive"}
            (await preview(alice, base + "/packed")).refused(404, "M_NOT_FOUND")


async def test_what_comes_packed_unasked_is_unpacked_within_bounds(database_dsn: str) -> None:
    """T-K16: some sites pack whatever was asked; of a bomb no more is unpacked than of any page is read."""
    packed = "Content-Encoding: gzip"
    bomb = gzip.compress(b"<title>bomb</title>" + b" " * 100_000_000)
    pages = {
        "/packed": answer(gzip.compress(b"<title>packed</title>"), HTML, packed),
        "/bomb": answer(bomb, HTML, packed),
        "/short": answer(gzip.compress(b"<title>short</title>")[:-9], HTML, packed),
        "/none": answer(b"<title>none</title>", HTML, packed),
        "/other": answer(b"<title>other</title>", HTML, "Content-Encoding: br"),
    }
    async with running_server(database_dsn, toml=LAB) as server, web(pages) as site:
        alice = await server.user("alice")
        base = f"http://127.0.0.1:{site.port}"
        assert (await preview(alice, base + "/packed")).ok()["og:title"] == "packed"
        tracemalloc.start()
        assert (await preview(alice, base + "/bomb")).ok()["og:title"] == "bomb"
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
        tracemalloc.stop()
        for path in ("/short", "/none", "/other"):
            (await preview(alice, base + path)).refused(404, "M_NOT_FOUND")


async def test_a_site_that_is_silent_is_left_alone(database_dsn: str) -> None:
    """T-K17, T-L9: after a while; and it isn't asked again with the next request."""
    async with running_server(database_dsn, toml=LAB + "[previews]\ntimeout_s = 0.3\n") as server:
        alice = await server.user("alice")
        async with canned(lambda head: b"HTTP/1.1 200 OK\r\n", hangs=True) as site:
            for _ in range(2):
                (await preview(alice, f"http://127.0.0.1:{site.port}/")).refused(404, "M_NOT_FOUND")
            assert len(site.heard) == 1


async def test_oembed_tells_where_a_page_says_nothing(database_dsn: str) -> None:
    markup = b"<p>What <b>they</b> &quot;said&quot; &mdash; &amp;lt;</p>"
    told = b'{"type": "rich", "title": "A post", "provider_name": "Posts", "html": "%b"}' % markup
    link = '<link rel="alternate" type="application/json+oembed" href="/oembed?x=1">'
    pages = {
        "/": page(link),
        "/oembed?x=1": answer(told, "Content-Type: application/json"),
        "/broken": page(link.replace("x=1", "x=2"), "<title>broken</title>"),
        "/oembed?x=2": answer(b"[" * 50_000, "Content-Type: application/json"),
    }
    async with running_server(database_dsn, toml=LAB) as server, web(pages) as site:
        alice = await server.user("alice")
        found = (await preview(alice, f"http://127.0.0.1:{site.port}/")).ok()
        assert (found["og:title"], found["og:description"]) == ("A post", 'What they "said" — &lt;')
        assert (await preview(alice, f"http://127.0.0.1:{site.port}/broken")).ok()["og:title"] == "broken"


async def test_other_alphabets_and_pictures_alone(database_dsn: str) -> None:
    pages = {
        "/latin": answer("<title>Straße</title>".encode("latin-1"), "Content-Type: text/html; charset=ISO-8859-1"),
        "/japan": answer(
            '<meta charset="shift_jis"><title>日本</title>'.encode("shift_jis"), "Content-Type: text/html"
        ),
        "/odd": answer(b"<title>odd \xff</title>", "Content-Type: text/html; charset=zlib"),
        "/p.png": answer(picture(5, 6), "Content-Type: image/png"),
        "/bomb.png": answer(b"\x89PNG\r\n\x1a\nx", "Content-Type: image/png"),
    }
    async with running_server(database_dsn, toml=LAB) as server, web(pages) as site:
        alice = await server.user("alice")
        base = f"http://127.0.0.1:{site.port}"
        assert (await preview(alice, base + "/latin")).ok()["og:title"] == "Straße"
        assert (await preview(alice, base + "/japan")).ok()["og:title"] == "日本"
        assert (await preview(alice, base + "/odd")).ok()["og:title"] == "odd \ufffd"
        assert (await preview(alice, base + "/p.png")).ok()["og:image:height"] == 6
        assert "og:image" not in (await preview(alice, base + "/bomb.png")).ok()


async def test_the_operator_names_sites_without_previews(database_dsn: str) -> None:
    """T-K19: those and what is below them, and no others."""
    toml = LAB + '[previews]\ndeny_hosts = ["denied.example", "127.0.0.1"]\n'
    async with running_server(database_dsn, toml=toml) as server, web({"/": page("<title>x</title>")}) as site:
        alice = await server.user("alice")
        for url in ("http://denied.example/", "https://a.DENIED.example./", f"http://127.0.0.1:{site.port}/"):
            (await preview(alice, url)).refused(403, "M_FORBIDDEN")
        (await preview(alice, "http://notdenied.example.invalid/")).refused(404, "M_NOT_FOUND")
        assert site.heard == []


async def test_without_previews_there_is_no_endpoint(database_dsn: str) -> None:
    async with running_server(database_dsn, toml="[previews]\nenabled = false\n") as server:
        alice = await server.user("alice")
        (await preview(alice, "http://example.org/")).refused(404, "M_UNRECOGNIZED")


async def test_pictures_of_pages_have_bounded_room(database_dsn: str) -> None:
    """T-K3: whoever has many pages fills no disk by them: later previews are without a picture, the oldest go."""
    pages = {f"/{name}.png": answer(picture(30, 20), "Content-Type: image/png") for name in "abc"}
    toml = LAB + "[previews]\nall_pictures_bytes_max = 1\n"
    async with running_server(database_dsn, toml=toml) as server, web(pages) as site:
        alice = await server.user("alice")
        at = f"http://127.0.0.1:{site.port}"
        assert "og:image" in (await preview(alice, f"{at}/a.png")).ok()
        assert "og:image" not in (await preview(alice, f"{at}/b.png")).ok()
        await server.hansa.media.housekeeping.tidy()
        assert await server.db.fetchval("SELECT count(*) FROM media") == 0
        assert "og:image" in (await preview(alice, f"{at}/c.png")).ok()


async def test_there_is_room_again_for_more_than_one_picture(database_dsn: str) -> None:
    """T-K3: who has filled the room leaves others more than one picture with each round of tidying."""
    images = [picture(30 + n, 20) for n in range(12)]
    pages = {f"/{n}.png": answer(image, "Content-Type: image/png") for n, image in enumerate(images)}
    size = len(images[0])
    toml = LAB + f"[previews]\nall_pictures_bytes_max = {9 * size}\n"
    async with running_server(database_dsn, toml=toml) as server, web(pages) as site:
        alice = await server.user("alice")

        async def has_picture(n: int) -> bool:
            return "og:image" in (await preview(alice, f"http://127.0.0.1:{site.port}/{n}.png")).ok()

        assert [await has_picture(n) for n in range(10)][-1] is False
        await server.hansa.media.housekeeping.tidy()
        assert await has_picture(10) and await has_picture(11)


@pytest.mark.parametrize(
    ("toml", "statuses"),
    [
        ("fetched_bytes_user = {per_second = 1, burst = 5_000}\nfetched_bytes_host = false", (200, 200, 429, 200)),
        ("fetched_bytes_host = {per_second = 1, burst = 5_000}\nfetched_bytes_user = false", (200, 200, 429, 429)),
    ],
)
async def test_nobody_has_more_pages_fetched_than_they_may(
    database_dsn: str, toml: str, statuses: tuple[int, ...]
) -> None:
    """T-K3: by user, and from one host; what is known is given to everybody."""
    pages = {f"/{name}": page(f"<title>{name}</title>", "x" * 2000) for name in "abc"}
    toml = LAB + f"[rate_limits]\n{toml}\n"
    async with running_server(database_dsn, toml=toml) as server, web(pages) as site:
        alice, bob = await server.user("alice"), await server.user("bob")
        at = f"http://127.0.0.1:{site.port}"
        found = [
            await preview(alice, f"{at}/a"),
            await preview(alice, f"{at}/a"),
            await preview(alice, f"{at}/b"),
            await preview(bob, f"{at}/c"),
        ]
        assert tuple(answered.status for answered in found) == statuses
