"""Answers in fewer bytes, for those who take them so."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import zstandard

from homeserver.web.compression import encoding_for
from tests.kit.server import Client, RunningServer, running_server


@pytest.fixture
async def server(database_dsn: str) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn) as running:
        yield running


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        (None, None),
        ("", None),
        ("identity", None),
        ("br", None),
        ("gzip", "gzip"),
        ("GZIP, deflate, br", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=0", None),
        ("gzip;q=0.000", None),
        ("*", "zstd"),
        ("*;q=0", None),
        (";;;,,,=", None),
        ("x" * 10_000 + ", gzip", None),
    ],
)
def test_what_a_client_takes(accept: str | None, encoding: str | None) -> None:
    assert encoding_for(accept) == encoding


async def fetch(client: Client, path: str, accept: str) -> tuple[Any, bytes]:
    """The headers, and the body as it came over the wire."""
    headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": accept}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(client.base_url + path, headers=headers) as answer,
    ):
        return answer.headers, await answer.read()


async def test_the_same_in_fewer_bytes(server: RunningServer) -> None:
    alice = await server.user("alice")
    room_id = await alice.create_room()
    for number in range(30):
        await alice.send(room_id, f"message number {number}")
    path = f"/_matrix/client/v3/rooms/{room_id}/messages?dir=b&limit=30"
    headers, plain = await fetch(alice, path, "identity")
    assert "Content-Encoding" not in headers and headers["Vary"] == "Accept-Encoding"
    for accept, unpack in (("zstd", zstandard.decompress), ("gzip", gzip.decompress)):
        headers, packed = await fetch(alice, path, accept)
        assert headers["Content-Encoding"] == accept and headers["Vary"] == "Accept-Encoding"
        assert int(headers["Content-Length"]) == len(packed) < len(plain) / 3
        told = json.loads(unpack(packed))
        assert [one["event_id"] for one in told["chunk"]] == [one["event_id"] for one in json.loads(plain)["chunk"]]


async def test_no_secret_is_compressed_with_what_others_chose(server: RunningServer) -> None:
    """T-M21: answers that hold tokens and pages that hold a form's code never are, whatever is beside them."""
    alice = await server.user("alice")
    for path in ("/_matrix/client/v3/account/whoami", "/_hansa/login"):
        headers, _ = await fetch(alice, path, "zstd, gzip")
        assert "Content-Encoding" not in headers
    bearing = [one for one in server.hansa.endpoints if one.may_be_compressed and one.method != "GET"]
    assert {one.paths[0].rpartition("/")[2] for one in bearing} == {"sync", "search", "query"}
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": "alice"},
        "password": "correct horse battery",
    }
    told = await server.anonymous().request("POST", "/login", body=body, headers={"Accept-Encoding": "zstd"})
    assert "Content-Encoding" not in told.headers


async def test_lengths_differ_by_chance(server: RunningServer) -> None:
    """T-M21: the same answer has another length each time, so that a byte more or less tells nothing."""
    alice = await server.user("alice")
    for accept in ("zstd", "gzip"):
        lengths = {len((await fetch(alice, "/_matrix/client/v3/pushrules/", accept))[1]) for _ in range(12)}
        assert len(lengths) > 3


async def test_style_sheets_are_compressed(server: RunningServer) -> None:
    alice = await server.user("alice")
    headers, _ = await fetch(alice, "/_hansa/style.css", "gzip")
    assert headers["Content-Encoding"] == "gzip"


async def test_it_can_be_left_to_a_proxy(database_dsn: str, tmp_path: Any) -> None:
    from dataclasses import replace

    from tests.kit.server import config_for_tests

    config = config_for_tests(tmp_path)
    config = replace(config, listeners=tuple(replace(one, compress=False) for one in config.listeners))
    async with running_server(database_dsn, config=config) as server:
        headers, _ = await fetch(await server.user("alice"), "/_hansa/style.css", "gzip")
        assert "Content-Encoding" not in headers and "Vary" not in headers
