"""Paths that older clients and bots call."""

from __future__ import annotations

import re

import pytest

from homeserver.client_api.server_info import UNSTABLE_FEATURES
from homeserver.web.older_spellings import older_spellings
from tests.kit.server import RunningServer, running_server


def test_every_stable_path_has_its_older_ones() -> None:
    assert set(older_spellings("/_matrix/client/v3/rooms/{room_id}/aliases")) == {
        "/_matrix/client/r0/rooms/{room_id}/aliases",
        "/_matrix/client/unstable/rooms/{room_id}/aliases",
        "/_matrix/client/unstable/org.matrix.msc2432/rooms/{room_id}/aliases",
    }
    assert list(older_spellings("/_matrix/federation/v1/version")) == []


@pytest.mark.parametrize(
    "path",
    [
        "/_matrix/client/r0/user_directory/search",
        "/_matrix/client/unstable/user_directory/search",
    ],
)
async def test_they_are_served(database_dsn: str, path: str) -> None:
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        (await alice.post(path, body={"search_term": "x"})).ok()
        token, alice.token = alice.token, None
        by_query = await alice.request("POST", path, query={"access_token": token}, body={"search_term": "x"})
        by_query.ok()


async def test_features_are_told_of_if_they_are_there(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        told = (await server.anonymous().get("/_matrix/client/versions")).ok()["unstable_features"]
        served = served_paths(server)
        for name, has in UNSTABLE_FEATURES.items():
            assert told[name] is (has if isinstance(has, bool) else has in served), name
        assert told["uk.half-shot.msc2666.query_mutual_rooms"] is True
        assert told["io.element.e2ee_forced.private"] is False


def served_paths(server: RunningServer) -> set[str]:
    return {re.sub(r"\{[a-z_]+\}", "{}", path) for declared in server.hansa.endpoints for path in declared.paths}
