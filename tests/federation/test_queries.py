"""Questions of other servers about our users and aliases, and those that nobody defined."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from homeserver.core.identifiers import ServerName
from tests.kit.authority import Authority
from tests.kit.canned import answer, canned
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
    asked = await peer.ask("GET", here.hansa.config.server_name, f"{path}?user_id=@a:b.test")
    assert (asked.status, orjson.loads(asked.body)["errcode"]) == (404, "M_UNRECOGNIZED")


async def test_the_known_types_keep_their_answers(here: RunningServer, peer: Peer) -> None:
    alice = await here.user("alice")
    name = here.hansa.config.server_name
    path = "/_matrix/federation/v1/query/profile"
    assert "displayname" in await peer.ask_json("GET", name, f"{path}?user_id={alice.user_id}")
    other = await peer.ask("GET", name, f"{path}?user_id=@a:b.test")
    assert (other.status, orjson.loads(other.body)["errcode"]) == (400, "M_INVALID_PARAM")


async def test_a_question_without_a_signature_is_refused(here: RunningServer) -> None:
    """Who asks is known before anything is said."""
    asked = await here.anonymous().get(UNKNOWN.replace("{queryType}", "weather"))
    assert asked.status == 401


# Everything that a client asks of us and we ask of another server, who is `{peer}`.
_ASKED_ELSEWHERE: list[tuple[str, str, Any]] = [
    ("POST", "/join/%23x:{peer}", {}),
    ("POST", "/join/!x:{peer}?via={peer}", {}),
    ("POST", "/knock/!x:{peer}?via={peer}", {}),
    ("GET", "/directory/room/%23x:{peer}", None),
    ("GET", "/publicRooms?server={peer}", None),
    ("POST", "/publicRooms?server={peer}", {"filter": {"generic_search_term": "x"}}),
    ("GET", "/profile/@bob:{peer}", None),
    ("GET", "/profile/@bob:{peer}/displayname", None),
    ("POST", "/keys/query", {"device_keys": {"@bob:{peer}": []}, "timeout": 2000}),
    ("POST", "/keys/claim", {"one_time_keys": {"@bob:{peer}": {"D": "signed_curve25519"}}, "timeout": 2000}),
    ("POST", "/rooms/{room}/invite", {"user_id": "@bob:{peer}"}),
    ("POST", "/createRoom", {"invite": ["@bob:{peer}"]}),
    ("GET", "/_matrix/client/v1/rooms/!x:{peer}/hierarchy", None),
    ("GET", "/_matrix/client/v1/room_summary/!x:{peer}?via={peer}", None),
    ("GET", "/_matrix/client/v1/media/download/{peer}/abc", None),
    ("GET", "/_matrix/client/v1/media/thumbnail/{peer}/abc?width=32&height=32", None),
    ("GET", "/_matrix/client/v1/rooms/{room}/timestamp_to_event?ts=1&dir=f", None),
    ("GET", "/rooms/{room}/messages?dir=b&limit=50", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "errcode"),
    [
        (401, "M_UNKNOWN_TOKEN"),
        (401, "M_MISSING_TOKEN"),
        (403, "M_USER_DEACTIVATED"),
        (403, "M_UNKNOWN_TOKEN"),
        (401, "M_FORBIDDEN"),
        (404, "M_USER_LOCKED"),
        (500, "M_UNKNOWN"),
    ],
)
async def test_no_error_of_others_ends_a_session_of_ours(
    here: RunningServer, authority: Authority, status: int, errcode: str
) -> None:
    """T-L10: whatever is asked and whatever they answer, our user is told of no token and of no fault of ours."""
    told = {"errcode": errcode, "error": "go away", "soft_logout": True, "flows": [], "retry_after_ms": 5}
    alice = await here.user("alice")
    room = await alice.create_room(preset="public_chat")
    asked = 0

    def say(head: str) -> bytes:
        nonlocal asked
        asked += "/_matrix/federation/" in head
        return answer(orjson.dumps(told), "Content-Type: application/json", status=status)

    async with canned(say, tls=authority.server_context("localhost")) as server:
        peer = f"localhost:{server.port}"
        for method, path, body in _ASKED_ELSEWHERE:
            sent = orjson.loads(orjson.dumps(body).replace(b"{peer}", peer.encode()))
            found = await alice.request(method, path.replace("{peer}", peer).replace("{room}", room), body=sent)
            about = (method, path, found.status, found.body)
            assert found.status in (200, 400, 403, 404, 502, 504), about
            said = found.body.decode()
            assert not any(word in said for word in ("TOKEN", "soft_logout", "DEACTIVATED", "LOCKED", "flows")), about
            assert here.hansa.federation is not None
            here.hansa.federation.reachability.reached(ServerName(peer))
        assert asked >= 12
    assert (await alice.get("/account/whoami")).status == 200
