"""Questions of other servers about our users and aliases, and those that nobody defined."""

from __future__ import annotations

from collections.abc import AsyncIterator

import orjson
import pytest

from tests.kit.authority import Authority
from tests.kit.peer import Peer, running_peer
from tests.kit.server import RunningServer

UNKNOWN = "/_matrix/federation/v1/query/{queryType}"


@pytest.fixture
async def peer(authority: Authority) -> AsyncIterator[Peer]:
    async with running_peer(authority) as running:
        yield running


@pytest.mark.parametrize("query_type", ["weather", "client_versions", "%2F", "..", "x" * 2000])
async def test_questions_of_no_known_type(here: RunningServer, peer: Peer, query_type: str) -> None:
    """Refused by name, whatever else is asked."""
    path = UNKNOWN.replace("{queryType}", query_type)
    answer = await peer.ask("GET", here.hansa.config.server_name, f"{path}?user_id=@a:b.test")
    assert (answer.status, orjson.loads(answer.body)["errcode"]) == (404, "M_UNRECOGNIZED")


async def test_the_known_types_keep_their_answers(here: RunningServer, peer: Peer) -> None:
    alice = await here.user("alice")
    name = here.hansa.config.server_name
    path = "/_matrix/federation/v1/query/profile"
    assert "displayname" in await peer.ask_json("GET", name, f"{path}?user_id={alice.user_id}")
    other = await peer.ask("GET", name, f"{path}?user_id=@a:b.test")
    assert (other.status, orjson.loads(other.body)["errcode"]) == (400, "M_INVALID_PARAM")


async def test_a_question_without_a_signature_is_refused(here: RunningServer) -> None:
    """Who asks is known before anything is said."""
    answer = await here.anonymous().get(UNKNOWN.replace("{queryType}", "weather"))
    assert answer.status == 401
