"""HTTP as attackers write it: requests in requests, strange heads, other methods, what browsers may do with answers."""

from __future__ import annotations

import asyncio
import gzip
import io
import ipaddress
import json
import re
from functools import partial
from pathlib import Path

import pytest

from homeserver.runtime.logging import configure_logging
from homeserver.web.connections import client_address, network_of
from homeserver.web.endpoint import Access
from tests.kit.raw_http import wire_to
from tests.kit.server import RunningServer
from tests.kit.until import until

GET = b"GET /_matrix/client/versions HTTP/1.1\r\n"
POST = b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
INNER = b"GET /_matrix/client/versions?inner HTTP/1.1\r\nHost: x\r\n\r\n"


async def all_answers(server: RunningServer, data: bytes) -> bytes:
    """All that the server says until it closes the connection."""
    async with wire_to(server.base_url) as wire:
        await wire.send(data)
        return await wire.rest()


@pytest.mark.parametrize(
    "data",
    [
        POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        POST + b"Content-Length: +2\r\n\r\n{}",
        POST + b"Content-Length: 2, 2\r\n\r\n{}",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"-2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2;a\nb\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\n{}\n0\n\n",
        GET + b"Host: x\r\nX-A: b\r\n c\r\n\r\n",
        b"GET /_matrix/client/versions HTTP/1.1\nHost: x\n\n",
        GET + b"Host: x\rX-A: b\r\n\r\n",
        GET + b"Host : x\r\n\r\n",
        GET + b"Host: x\r\nX A: a\r\n\r\n",
        GET + b"Host: x\r\nX-A: a\x00b\r\n\r\n",
    ],
)
async def test_one_request_holds_no_other(server: RunningServer, data: bytes) -> None:
    """T-M7: what two parsers could read in two ways is refused, and nothing behind it is looked at."""
    said = await all_answers(server, data + INNER)
    assert said.count(b"HTTP/1.") == 1 and b" 400 " in said.partition(b"\r\n")[0], said
    assert json.loads(said.partition(b"\r\n\r\n")[2])["errcode"] == "M_UNKNOWN"


@pytest.mark.parametrize(
    "data",
    [
        GET + b"Host: x\r\nHost: y\r\n\r\n",
        GET + b"\r\n",
        GET + b"Host: x\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(200)) + b"\r\n",
        GET + b"Host: x\r\nX-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /_matrix/client/versions HTTP/3.7\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_strange_heads_are_refused(server: RunningServer, data: bytes) -> None:
    """T-M9, T-M10, T-M22: one Host, bounded headers and lines, HTTP/1 alone."""
    said = await all_answers(server, data)
    assert b" 400 " in said.partition(b"\r\n")[0], said


async def test_who_hangs_up_is_no_fault_of_ours(server: RunningServer) -> None:
    """T-O9, T-O19: whoever leaves in the middle of a request writes no failure with its lines into our log."""
    lines = io.StringIO()
    configure_logging(format="json", level="debug", value_chars_max=2000, stream=lines)
    async with wire_to(server.base_url) as wire:
        await wire.send(POST + b"Content-Length: 100\r\n\r\n{")
    await until(partial(_holds, lines, "caller_gone"))
    said = lines.getvalue()
    assert "connection_failed" not in said and "Traceback" not in said and '"level": "error"' not in said


async def _holds(lines: io.StringIO, word: str) -> bool:
    return word in lines.getvalue()


@pytest.mark.slow
async def test_what_is_sent_at_once_is_taken_bit_by_bit(server: RunningServer) -> None:
    """T-M9, T-O22: requests behind one that waits aren't read into memory without end."""
    alice = await server.user("alice")
    asked = GET.replace(b"versions", b"v3/profile/" + alice.user_id.encode()) + b"Host: x\r\n\r\n"
    taken = 0
    async with server.db.transaction() as tx, wire_to(server.base_url) as wire:
        await tx.execute("LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE")
        try:
            while taken < 64_000_000:
                async with asyncio.timeout(2):
                    await wire.send(asked * 1000)
                taken += len(asked) * 1000
        except TimeoutError:
            pass
    assert taken < 32_000_000
    assert (await alice.get("/account/whoami")).status == 200


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_no_connection_becomes_another_protocol(server: RunningServer, protocol: str) -> None:
    """T-M8, T-M22: a request for an upgrade is a request like any other."""
    async with wire_to(server.base_url) as wire:
        await wire.send(GET + f"Host: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n".encode())
        assert (await wire.head()).startswith(b"HTTP/1.1 200")


async def test_what_is_no_http_is_not_written_down(server: RunningServer) -> None:
    """T-O9, T-O10, T-M20: neither tokens in broken headers nor in query strings reach the log."""
    lines = io.StringIO()
    configure_logging(format="json", level="debug", value_chars_max=2000, stream=lines)
    broken = b"Host: x\r\nAuthorization: Bearer hsa_secret\x00token\r\n\r\n"
    assert b" 400 " in await all_answers(server, GET + broken)
    stranger = server.anonymous()
    await stranger.get("/account/whoami", access_token="hsa_secret_in_query")
    await stranger.get("/sync", since="hsa_secret_since", access_token="hsa_secret_in_query")
    assert "request_handled" in lines.getvalue()
    assert "secret" not in lines.getvalue() and "Traceback" not in lines.getvalue()


async def test_a_compressed_body_is_not_unpacked(server: RunningServer) -> None:
    """T-M9: what is small on the wire stays small."""
    alice = await server.user("alice")
    bomb = gzip.compress(b'{"name":"' + b"x" * 50_000_000 + b'"}')
    assert len(bomb) < 100_000
    answer = await alice.request("POST", "/createRoom", data=bomb, headers={"Content-Encoding": "gzip"})
    answer.refused(400, "M_NOT_JSON")


async def test_what_browsers_may_read(server: RunningServer) -> None:
    """T-M14: the spec's headers for every site, never with its cookies; also on errors. No redirect (T-M19)."""
    alice = await server.user("alice")
    answers = [
        await alice.get("/account/whoami"),
        await server.anonymous().get("/account/whoami"),
        await alice.get("/nothing"),
        await alice.request("OPTIONS", "/account/whoami", headers={"Origin": "https://evil.example"}),
        await alice.request("GET", "/_matrix/../../evil"),
        await alice.request("GET", "/.//evil.example/%2e%2e"),
    ]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert "Access-Control-Allow-Credentials" not in answer.headers
        assert "Set-Cookie" not in answer.headers
        assert not 300 <= answer.status < 400
    assert {"Authorization", "Content-Type"} <= set(answers[3].headers["Access-Control-Allow-Headers"].split(", "))


async def test_methods_are_what_they_are(server: RunningServer) -> None:
    """T-M18: no header makes another method of one; HEAD runs nothing that has effects."""
    alice = await server.user("alice")
    for header in ("X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"):
        answer = await alice.request("GET", "/account/whoami", headers={header: "DELETE"})
        assert answer.status == 200
        answer = await alice.request("POST", "/account/whoami", headers={header: "GET"})
        assert answer.refused(405, "M_UNRECOGNIZED")
    assert (await alice.request("HEAD", "/sync")).status == 405
    for acts in ("/_hansa/confirm?sid=x&token=y", "/_hansa/sso/callback", "/_synapse/admin/v1/register"):
        assert (await server.anonymous().request("HEAD", acts)).status == 405, acts
    assert (await alice.request("HEAD", "/_matrix/client/versions")).status == 200
    for method in ("TRACE", "PROPFIND"):
        (await alice.request(method, "/account/whoami")).refused(405, "M_UNRECOGNIZED")
    said = await all_answers(server, b"CONNECT evil.example:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b" 404 " in said.partition(b"\r\n")[0] or b" 400 " in said.partition(b"\r\n")[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("203.0.113.5", "198.51.100.1", "203.0.113.5"),  # a stranger names another address
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),  # what the client itself wrote comes first
        ("127.0.0.1", "198.51.100.1, 127.0.0.2", "198.51.100.1"),  # two proxies of ours
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "not an address", "not an address"),
        ("::ffff:127.0.0.1", "2001:db8::1", "2001:db8::1"),
    ],
)
def test_forwarded_addresses_are_believed_of_proxies_alone(peer: str, forwarded: str, client: str) -> None:
    """T-H12, T-I16: whoever else writes the header is not asked."""
    assert client_address(peer, forwarded, [ipaddress.ip_network("127.0.0.0/8")]) == client


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
    ],
)
def test_who_counts_as_one_client(address: str, network: str) -> None:
    """T-H12, T-I16: whoever has an IPv6 network has 2^64 addresses, and one limit."""
    assert network_of(address) == network


def test_parts_of_the_library_that_had_flaws_are_not_used() -> None:
    """T-M11, T-M12, T-M13, T-M19: no form parser, no static files, no path normalisation, no WebSocket."""
    root = Path(__file__).resolve().parent.parent.parent
    files = [file for name in ("homeserver", "federation", "search", "admin") for file in (root / name).rglob("*.py")]
    assert len(files) > 300
    words = (".post()", ".multipart()", "add_static", "FileResponse", "normalize_path", "WebSocketResponse")
    assert [(file, word) for file in files for word in words if word in file.read_text()] == []


async def test_no_page_is_shown_in_a_frame(server: RunningServer) -> None:
    """T-I21, T-M1: whatever page anybody can reach, with nothing behind its fields or its session."""
    stranger = server.anonymous()
    pages = set()
    for declared in server.hansa.endpoints:
        if declared.method != "GET" or declared.access not in (Access.NONE, Access.OPTIONAL):
            continue
        path = re.sub(r"\{[a-z_]+\}", "x", declared.paths[0])
        answer = await stranger.request("GET", path, follow=False)
        if not answer.headers.get("Content-Type", "").startswith("text/html"):
            continue
        pages.add(path)
        policy = answer.headers.get("Content-Security-Policy", "")
        assert "frame-ancestors 'none'" in policy and "unsafe" not in policy, (path, policy)
        assert answer.headers.get("X-Frame-Options") == "DENY", path
        assert answer.headers.get("X-Content-Type-Options") == "nosniff", path
    assert len(pages) > 5, pages
