"""Two servers ask each other: found, encrypted, signed and checked."""

from __future__ import annotations

import pytest

from federation.client import FederationClient, FederationError
from homeserver.core.identifiers import ServerName
from tests.kit.server import RunningServer


def client_of(server: RunningServer) -> FederationClient:
    assert server.hansa.federation is not None
    return server.hansa.federation.client


def name_of(server: RunningServer) -> ServerName:
    return ServerName(server.hansa.config.server_name)


async def test_version_and_keys(here: RunningServer, there: RunningServer) -> None:
    answer = await client_of(here).get(name_of(there), "/_matrix/federation/v1/version")
    assert answer["server"]["name"] == "Hansa"
    keys = await client_of(here).get(name_of(there), "/_matrix/key/v2/server")
    assert keys["server_name"] == name_of(there)


async def test_profiles_and_aliases(here: RunningServer, there: RunningServer) -> None:
    alice = await there.user("alice")
    await alice.put("/profile/{}/displayname", alice.user_id, body={"displayname": "Alice"})
    room_id = await alice.create_room(room_alias_name="town")
    client, name = client_of(here), name_of(there)
    profile = "/_matrix/federation/v1/query/profile"
    assert (await client.get(name, profile, query={"user_id": alice.user_id}))["displayname"] == "Alice"
    assert await client.get(name, profile, query={"user_id": alice.user_id, "field": "avatar_url"}) == {}
    found = await client.get(name, "/_matrix/federation/v1/query/directory", query={"room_alias": f"#town:{name}"})
    assert found == {"room_id": room_id, "servers": [name]}
    with pytest.raises(FederationError) as refused:
        await client.get(name, profile, query={"user_id": f"@nobody:{name}"})
    assert (refused.value.status, refused.value.errcode) == (404, "M_NOT_FOUND")
