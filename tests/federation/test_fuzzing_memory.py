"""A server in a process of its own that other servers tell nothing but junk: what it holds of memory has an end."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from federation.request_signing import authorization_header
from homeserver.core.events import parse_pdu
from tests.federation.test_hostile_peers import texts
from tests.kit.authority import Authority
from tests.kit.federation import signer_of
from tests.kit.mutations import junk_header, junk_question, junk_transaction, mutated
from tests.kit.peer import Peer, running_peer
from tests.kit.peer_room import V1, PeerRoom
from tests.kit.ports import free_port
from tests.kit.process import ServerProcess
from tests.kit.server import Client
from tests.kit.until import until

AT_ONCE = 8
MIB = 1024 * 1024
# What a process may hold more of: the allocator's pieces, and bounded caches that still fill (answers to transactions
# above all). Keeping the bodies would be twice as much.
GROWTH_BYTES_MAX = 24 * MIB
LONG_GROWTH_BYTES_MAX = 80 * MIB


class Fuzz:
    """Junk of all kinds for one server, which signs and knows a room with us; `sent` counts what was answered."""

    def __init__(self, peer: Peer, room: PeerRoom, name: str, alice: Client, seed: int) -> None:
        self._peer = peer
        self._room = room
        self._name = name
        self._alice = alice
        self._chance = random.Random(seed)
        self._keys = dict(peer.keys)
        self._number = 0
        self.sent = 0

    async def run(self, requests: int) -> None:
        """So many, some at once."""
        left = iter(range(requests))

        async def some() -> None:
            for _ in left:
                await self._one()

        await asyncio.gather(*(some() for _ in range(AT_ONCE)))

    async def _one(self) -> None:
        self._number += 1
        kind = self._number % 6
        if kind == 0:
            await self._stranger()
        elif kind == 1:
            await self._keys_of_a_liar()
        elif kind < 4:
            await self._ask(*junk_question(self._room, self._chance))
        else:
            body = junk_transaction(self._room, self._alice.user_id, self._chance, self._number)
            await self._ask("PUT", f"{V1}/send/fuzz{self._number}", body)

    async def _ask(self, method: str, target: str, body: Any, authorization: str | None = None) -> None:
        try:
            answer = await self._peer.ask(method, self._name, target, body, authorization=authorization)
        except Exception as error:  # numbers and texts that no canonical JSON has can't be signed
            assert "JSON" in str(error) or "surrogate" in str(error) or "number" in str(error), error
            return
        assert answer.status < 500, (method, target, answer.status, answer.body)
        self.sent += 1

    async def _stranger(self) -> None:
        """Somebody never heard of, at an address where nobody listens; every second header is no header."""
        chance = self._chance
        stranger = f"127.{chance.randint(1, 250)}.{chance.randint(0, 250)}.{chance.randint(2, 250)}:{self._peer.port}"
        target = f"{V1}/query/profile?user_id=@x:y"
        header = authorization_header(signer_of(stranger), self._name, "GET", target, None)
        if chance.random() < 0.5:
            header = junk_header(header, chance)
            if not header.isprintable():
                return
        await self._ask("GET", target, None, header)

    async def _keys_of_a_liar(self) -> None:
        """A key document that is something else, which our users and other servers make the server fetch."""
        self._peer.keys = mutated(self._keys, self._chance)
        asked: Any = {"server_keys": {self._peer.name: {f"ed25519:{self._number}": {}}}}
        await self._ask("POST", "/_matrix/key/v2/query", asked)
        self._peer.keys = self._keys


@asynccontextmanager
async def fuzzed(authority: Authority, folder: Path, dsn: str, seed: int) -> AsyncIterator[tuple[ServerProcess, Fuzz]]:
    """Checks at the end that the server still does its work."""
    port = free_port()
    certificate, key = authority.server_files("localhost")
    toml = (
        f'[database]\ndsn = "{dsn}"\n[federation]\nca_path = "{authority.ca_path}"\nallow_ip_ranges = ["127.0.0.0/8"]\n'
        f'[[listeners]]\nbind = "127.0.0.1"\nport = {port}\napis = ["federation"]\n'
        f'tls_certificate_path = "{certificate}"\ntls_private_key_path = "{key}"\n'
    )
    server = ServerProcess(folder, toml, server_name=f"localhost:{port}")
    async with running_peer(authority) as peer, aiohttp.ClientSession() as session:
        await server.start()
        try:
            alice = Client(session, server.base_url)
            body = {"username": "alice", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
            account = (await alice.post("/register", body=body)).ok()
            alice.token, alice.user_id = account["access_token"], account["user_id"]
            room = PeerRoom(peer)
            room.answer_joins(alice.user_id)
            (await alice.post(f"/join/{{}}?via={peer.name}&server_name={peer.name}", room.room_id)).ok()
            joined = next(body for method, path, body in peer.asked if method == "PUT" and "/send_join/" in path)
            room.take(parse_pdu(room.version, joined))
            yield server, Fuzz(peer, room, f"localhost:{port}", alice, seed)
            await room.send(f"localhost:{port}", room.text("after all this", prev=list(room.heads)))

            async def heard() -> bool:
                return "after all this" in await texts(alice, room.room_id)

            await until(heard, within_s=60)
        finally:
            await server.stop()


async def grown(server: ServerProcess, fuzz: Fuzz, *, first: int, then: int) -> int:
    """By how many bytes the process is larger after `then` more requests."""
    await fuzz.run(first)
    before, sent = server.resident_bytes, fuzz.sent
    await fuzz.run(then)
    after = server.resident_bytes
    sys.stdout.write(
        f"\n{before / MIB:.1f} MiB after {sent} mutated requests, {after / MIB:.1f} MiB after {fuzz.sent}\n"
    )
    assert fuzz.sent - sent > then / 2
    return after - before


@pytest.mark.slow
async def test_junk_takes_no_memory(authority: Authority, database_dsn: str, tmp_path: Path) -> None:
    """T-B4, T-O1, T-E9: events, EDUs, questions, headers and keys that are mutated; the log is a file."""
    async with fuzzed(authority, tmp_path, database_dsn, 3) as (server, fuzz):
        growth = await grown(server, fuzz, first=9_000, then=3_000)
        if growth >= GROWTH_BYTES_MAX:
            # A step, such as a thread's first arena, comes once; what is kept of each request comes again.
            growth = await grown(server, fuzz, first=0, then=3_000)
        assert growth < GROWTH_BYTES_MAX


@pytest.mark.deep
async def test_much_junk_takes_no_memory(authority: Authority, database_dsn: str, tmp_path: Path) -> None:
    """T-B4, T-O1, T-E9: four times as much of it takes little more."""
    async with fuzzed(authority, tmp_path, database_dsn, 4) as (server, fuzz):
        assert await grown(server, fuzz, first=9_000, then=12_000) < LONG_GROWTH_BYTES_MAX
