"""The room directory and spaces, asked for by another server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.federation.test_rooms import name_of
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.postgres import PostgresForTests
from tests.kit.server import RunningServer


@pytest.fixture
async def open_there(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    toml = "[rooms]\npublic_list_over_federation = true\n"
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=toml) as server:
        yield server


async def test_the_list_is_shown_where_the_operator_wants_it(
    here: RunningServer, there: RunningServer, open_there: RunningServer
) -> None:
    """Closed unless it was opened."""
    alice, bob, carol = await here.user("alice"), await there.user("bob"), await open_there.user("carol")
    for user in (bob, carol):
        await user.create_room(visibility="public", name="Market", preset="public_chat")
    path = "/publicRooms?server={}"
    assert (await alice.get(path, name_of(there))).status in (403, 502)
    found = (await alice.get(path, name_of(open_there))).ok()
    assert [room["name"] for room in found["chunk"]] == ["Market"]
    body = {"filter": {"generic_search_term": "nothing"}}
    assert (await alice.post(path, name_of(open_there), body=body)).ok()["chunk"] == []


async def test_a_space_on_another_server_is_walked(here: RunningServer, there: RunningServer) -> None:
    """T-D13: rooms that nobody of the asking server could enter are named, not described."""
    alice, bob = await here.user("alice"), await there.user("bob")
    space = await bob.create_room(preset="public_chat", creation_content={"type": "m.space"}, name="Quarter")
    shop = await bob.create_room(preset="public_chat", name="Shop")
    cellar = await bob.create_room(preset="private_chat", name="Cellar")
    for child in (shop, cellar):
        body = {"via": [name_of(there)]}
        (await bob.put("/rooms/{}/state/m.space.child/{}", space, child, body=body)).ok()
    (await alice.post(f"/join/{{}}?via={name_of(there)}", space)).ok()
    found = (await alice.get("/_matrix/client/v1/rooms/{}/hierarchy", space)).ok()
    assert [room.get("name") for room in found["rooms"]] == ["Quarter", "Shop"]
