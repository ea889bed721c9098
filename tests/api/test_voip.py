"""Credentials for calls, with a real relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.coturn import running_coturn
from tests.kit.server import RunningServer, running_server


@pytest.mark.programs("turnserver", "turnutils_uclient")
async def test_the_relay_takes_our_credentials(database_dsn: str, tmp_path: Path) -> None:
    async with running_coturn(tmp_path, "shared") as relay:
        toml = f'[turn]\nuris = ["turn:127.0.0.1:{relay.port}?transport=udp"]\nshared_secret = "shared"\n'
        async with running_server(database_dsn, toml=toml) as server:
            alice = await server.user("alice")
            given = (await alice.get("/voip/turnServer")).ok()
            assert given["uris"] == [f"turn:127.0.0.1:{relay.port}?transport=udp"]
            assert given["ttl"] == 86_400
            assert await relay.relays_for(given["username"], given["password"])
            assert not await relay.relays_for(given["username"], "wrong")
            guest = (await server.anonymous().request("POST", "/register", query={"kind": "guest"}, body={})).ok()
            client = server.anonymous()
            client.token = guest["access_token"]
            (await client.get("/voip/turnServer")).refused(403, "M_GUEST_ACCESS_FORBIDDEN")


async def test_no_relay(server: RunningServer) -> None:
    assert (await (await server.user("alice")).get("/voip/turnServer")).ok() == {}
