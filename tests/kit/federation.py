"""Servers that talk with each other in one process: the production composition, real TLS, names of this machine."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import aiohttp

from homeserver.app import Hansa
from homeserver.assembly.base import World
from homeserver.assembly.network import build_outgoing
from homeserver.config import Listener
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.runtime.clock import Clock, SystemClock
from homeserver.runtime.ids import SystemRandomness
from tests.kit.authority import Authority
from tests.kit.counting import CountingDatabase
from tests.kit.network import Network
from tests.kit.ports import free_port
from tests.kit.server import RunningServer, config_for_tests


def signer_of(name: str, version: str = "test") -> Signer:
    """The signing key of a server of this name, the same in every run."""
    return Signer(ServerName(name), f"ed25519:{version}", hashlib.sha256(f"{name} {version}".encode()).digest())


@asynccontextmanager
async def federated_server(
    dsn: str,
    authority: Authority,
    *,
    port: int | None = None,
    clock: Clock | None = None,
    toml: str = "",
    key_version: str = "test",
    network: Network | None = None,
    federation: str = "",
    signer: Signer | None = None,
) -> AsyncIterator[RunningServer]:
    """A server named `localhost:PORT`, reached by others at that port with TLS, by clients without.

    Entered twice with the same database and port, it is the same server after a restart.
    """
    port = port or free_port()
    certificate, key = authority.server_files("localhost")
    section = (
        f'[federation]\nca_path = "{authority.ca_path}"\nallow_ip_ranges = ["127.0.0.0/8", "::1/128"]\n{federation}\n'
    )
    with tempfile.TemporaryDirectory(prefix="hansa-test-") as folder:
        plain = config_for_tests(Path(folder), toml + "\n" + section)
        listeners = (
            Listener(port=0),
            Listener(port=port, apis=("federation",), tls_certificate_path=certificate, tls_private_key_path=key),
        )
        config = replace(plain, server_name=f"localhost:{port}", listeners=listeners)
        db = await CountingDatabase.connect(dsn, size_min=1, size_max=10)
        assert isinstance(db, CountingDatabase)
        way_out = network.side_of(config.server_name, build_outgoing(config)) if network is not None else None
        world = World(clock=clock or SystemClock(), randomness=SystemRandomness(), db=db, outgoing=way_out)
        hansa = Hansa(config, world, signer or signer_of(config.server_name, key_version))
        await hansa.start()
        try:
            async with aiohttp.ClientSession() as session:
                yield RunningServer(hansa, session, db)
        finally:
            await hansa.stop()
            await db.close()
