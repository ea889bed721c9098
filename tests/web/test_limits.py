"""What one request, one client and one process may take: each limit of the configuration, at a running server."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from homeserver.config import Listener
from homeserver.storage.database import Database
from tests.kit.authority import Authority
from tests.kit.raw_http import Wire, wire_to
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import until

VERSIONS = b"GET /_matrix/client/versions HTTP/1.1\r\nHost: hansa.test\r\n\r\n"


@asynccontextmanager
async def server_with(dsn: str, toml: str) -> AsyncIterator[RunningServer]:
    async with running_server(dsn, toml=toml) as server:
        yield server


@asynccontextmanager
async def locked(database: Database, table: str) -> AsyncIterator[None]:
    """Whoever reads this table waits."""
    async with database.transaction() as tx:
        await tx.execute({"profiles": "LOCK TABLE profiles IN ACCESS EXCLUSIVE MODE"}[table])
        yield


def nested(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


async def put_data(alice: Client, data: bytes) -> int:
    path = f"/user/{alice.user_id}/account_data/org.example.deep"
    return (await alice.request("PUT", path, data=data)).status


async def test_json_is_as_deep_as_configured(database_dsn: str) -> None:
    """T-B18"""
    async with server_with(database_dsn, "[limits]\njson_depth_max = 12\n") as server:
        alice = await server.user("alice")
        assert await put_data(alice, nested(12)) == 200
        assert await put_data(alice, nested(13)) == 400


async def registered_before(dsn: str) -> Callable[[RunningServer], Client]:
    """Alice, who registered while the server had time for it."""
    async with running_server(dsn) as server:
        before = await server.user("alice")

    def now(server: RunningServer) -> Client:
        alice = server.anonymous()
        alice.token, alice.user_id = before.token, before.user_id
        return alice

    return now


async def _is_shown(client: Client) -> bool:
    return (await client.get("/profile/{}", client.user_id)).status == 200


async def test_a_long_request_is_given_up(database_dsn: str, database: Database) -> None:
    """T-M17: it gets a clean 503 that says when to come again, and the next one is served."""
    registered = await registered_before(database_dsn)
    async with server_with(database_dsn, "[limits]\nrequest_time_s = 0.3\n") as server:
        alice = registered(server)
        async with locked(database, "profiles"):
            answer = await alice.get("/profile/{}", alice.user_id)
            answer.refused(503, "M_UNKNOWN")
            assert int(answer.headers["Retry-After"]) > 0
        await until(partial(_is_shown, alice))


async def test_a_long_statement_is_given_up(database_dsn: str, database: Database) -> None:
    registered = await registered_before(database_dsn)
    async with server_with(database_dsn, "[database]\nstatement_timeout_s = 0.3\n") as server:
        alice = registered(server)
        async with locked(database, "profiles"):
            (await alice.get("/profile/{}", alice.user_id)).refused(503, "M_UNKNOWN")
        await until(partial(_is_shown, alice))


async def is_served(wire: Wire) -> bool:
    await wire.send(VERSIONS)
    return b"HTTP/1.1 200" in await wire.head()


async def test_open_requests_of_a_user_are_counted(database_dsn: str) -> None:
    """T-M17: whoever has too many open is told to wait; others aren't, nor they themselves afterwards."""
    async with server_with(database_dsn, "[limits]\nopen_requests_per_user_max = 2\n") as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        since = (await alice.sync())["next_batch"]
        polls = [asyncio.create_task(alice.sync(since=since, timeout=300_000)) for _ in range(2)]

        async def is_full() -> bool:
            return (await alice.get("/account/whoami")).status == 429

        await until(is_full, within_s=60)
        refused = (await alice.get("/account/whoami")).refused(429, "M_LIMIT_EXCEEDED")
        assert refused["retry_after_ms"] > 0
        assert (await bob.get("/account/whoami")).status == 200
        for poll in polls:
            poll.cancel()

        async def is_free() -> bool:
            return (await alice.get("/account/whoami")).status == 200

        await until(is_free, within_s=60)


async def test_connections_are_counted(database_dsn: str) -> None:
    """T-M17, T-O22: one too many is closed; a place is free again when another one ends."""
    async with server_with(database_dsn, "[limits]\nopen_connections_max = 2\n") as server:
        async with wire_to(server.base_url) as first, wire_to(server.base_url) as second:
            assert await is_served(first)
            assert await is_served(second)
            async with wire_to(server.base_url) as third:
                assert await third.rest() == b""
            second.writer.close()
            await second.writer.wait_closed()
            async with wire_to(server.base_url) as fourth:
                # The server hears of the end before it hears of the beginning.
                assert await is_served(fourth)
        assert server.hansa.door.connections.refused == 1


async def test_connections_of_one_address_are_counted(database_dsn: str) -> None:
    """T-M17: one client can't take all places; a trusted proxy, who speaks for many, may."""
    async with server_with(database_dsn, "[limits]\nconnections_per_address_max = 1\n") as server:
        async with wire_to(server.base_url) as first, wire_to(server.base_url) as second:
            assert await is_served(first) and await is_served(second)
        counted = server.hansa.door.connections
        before = counted.open
        assert counted.take("203.0.113.9") and not counted.take("203.0.113.9") and counted.take("203.0.113.10")
        counted.give_back("203.0.113.9")
        assert counted.take("203.0.113.9")
        assert counted.open == before + 2


@pytest.mark.slow
async def test_handshakes_are_counted_and_have_a_time(database_dsn: str, tmp_path: Path) -> None:
    """T-M17: who opens connections for TLS and says nothing takes places as others do, and loses them in time."""
    authority = Authority(tmp_path)
    certificate, key = authority.server_files("localhost")
    plain = config_for_tests(tmp_path, "[limits]\nheader_time_s = 5\nopen_connections_max = 2\n")
    secured = Listener(port=0, tls_certificate_path=certificate, tls_private_key_path=key)
    async with running_server(database_dsn, config=replace(plain, listeners=(secured,))) as server:
        place, counted = server.hansa.addresses[0], server.hansa.door.connections
        trusting = ssl.create_default_context(cafile=str(authority.ca_path))

        async def are_open(expected: int) -> bool:
            return counted.open == expected

        async def is_served_by_tls() -> bool:
            try:
                reader, writer = await asyncio.open_connection(*place, ssl=trusting, server_hostname="localhost")
            except OSError:
                return False
            answered = await is_served(Wire(reader, writer))
            writer.close()
            return answered

        assert await is_served_by_tls()
        await until(partial(are_open, 0))
        silent = [await asyncio.open_connection(*place) for _ in range(2)]
        await until(partial(are_open, 2))
        assert not await is_served_by_tls(), "there is no place left"
        assert counted.refused == 1
        await until(is_served_by_tls)
        await until(partial(are_open, 0))
        for reader, writer in silent:
            assert await Wire(reader, writer).rest() == b""
            writer.close()
        # What is no handshake at all gives its place back at once.
        reader, writer = await asyncio.open_connection(*place)
        await Wire(reader, writer).send(VERSIONS)
        assert b"HTTP" not in await Wire(reader, writer).rest()
        writer.close()
        await until(partial(are_open, 0))


@pytest.mark.slow
async def test_silent_connections_are_closed(database_dsn: str) -> None:
    """T-M17: slow headers hold no connection for longer than `header_time_s`."""
    async with server_with(database_dsn, "[limits]\nheader_time_s = 0.3\n") as server:
        async with wire_to(server.base_url) as silent, wire_to(server.base_url) as slow:
            await slow.send(b"GET /_matrix/client/versions HTTP/1.1\r\nX-Slow: ")
            assert await silent.rest() == b""
            assert await slow.rest() == b""
        async with wire_to(server.base_url) as spoken:
            assert await is_served(spoken)
            await server.hansa.world.clock.sleep(0.5)
            assert await is_served(spoken), "who has spoken has the keep-alive time"


@pytest.mark.slow
async def test_a_slow_body_is_given_up(database_dsn: str) -> None:
    """T-M17"""
    async with (
        server_with(database_dsn, "[limits]\nbody_read_time_s = 0.3\n") as server,
        wire_to(server.base_url) as wire,
    ):
        await wire.send(b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert (await wire.head()).startswith(b"HTTP/1.1 408")


@pytest.mark.slow
async def test_who_does_not_read_is_given_up(database_dsn: str) -> None:
    """T-M17, T-O22: an answer that nobody takes is not kept for ever, nor is its connection's place."""
    async with server_with(database_dsn, "[limits]\nanswer_stall_s = 2\n") as server:
        alice = await server.user("alice")
        for number in range(12):
            path = f"/user/{alice.user_id}/account_data/org.example.large{number}"
            large = b'{"a":"' + b"x" * 1_000_000 + b'"}'
            assert (await alice.request("PUT", path, data=large)).status == 200
        asked = b"GET /_matrix/client/v3/sync HTTP/1.1\r\nHost: hansa.test\r\nAuthorization: Bearer %b\r\n\r\n"
        # Twelve megabytes are more than the buffers of both sides take.
        with socket.create_connection(server.hansa.addresses[0]) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(asked % (alice.token or "").encode())

            async def others_are(expected: int) -> bool:
                """Beside the one connection on which Alice asks now."""
                assert (await alice.get("/account/whoami")).status == 200
                return server.hansa.door.connections.open == 1 + expected

            await until(partial(others_are, 1))
            await until(partial(others_are, 0))
        assert len(json.dumps(await alice.sync())) > 12_000_000, "who reads gets it all"


@pytest.mark.parametrize("kind", [b"application/json", b"multipart/form-data; boundary=x", b"MultiPart/Form-DATA"])
async def test_a_body_of_unknown_length_is_given_up(database_dsn: str, kind: bytes) -> None:
    """T-M6, T-M9: counted while it comes, whatever it says it is; the answer doesn't wait for its end."""
    head = b"POST /_matrix/client/v3/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Type: "
    chunk = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"
    async with (
        server_with(database_dsn, "[limits]\nbody_bytes_max = 65536\n") as server,
        wire_to(server.base_url) as wire,
    ):
        await wire.send(head + kind + b"\r\n\r\n" + chunk * 2 + b"1\r\nx\r\n")
        assert (await wire.head()).startswith(b"HTTP/1.1 413")


async def test_requests_are_limited_in_all(database_dsn: str) -> None:
    """T-H12, T-I16: by user, and by address where nobody is named or a token is wrong."""
    limits = """
        [rate_limits]
        requests_user = {per_second = 0.01, burst = 3}
        requests_address = {per_second = 0.01, burst = 4}
    """
    async with server_with(database_dsn, limits) as server:
        alice = await server.user("alice")
        assert [(await alice.get("/account/whoami")).status for _ in range(4)] == [200, 200, 200, 429]
        stranger = server.anonymous()
        stranger.token = "wrong"
        assert [(await stranger.get("/account/whoami")).status for _ in range(4)] == [401, 401, 401, 429]


async def test_wrong_passwords_of_interactive_authentication_are_counted(database_dsn: str) -> None:
    """T-I16: whoever holds a token can't try passwords at will, and a right one forgives the wrong ones."""
    toml = "[rate_limits]\nauthentication_failed = {per_second = 0.01, burst = 2}\n"
    async with server_with(database_dsn, toml) as server:
        alice = await server.user("alice")

        async def tried(password: str) -> int:
            identifier = {"type": "m.id.user", "user": "alice"}
            auth = {"type": "m.login.password", "identifier": identifier, "password": password}
            return (await alice.post("/delete_devices", body={"devices": ["NONE"], "auth": auth})).status

        assert [await tried(password) for password in ("a", "correct horse battery")] == [401, 200]
        assert [await tried(password) for password in ("a", "b", "correct horse battery")] == [401, 401, 429]
