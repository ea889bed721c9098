"""Calls over LiveKit: what clients are told, and who is let in."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from homeserver.accounts import calls
from tests.kit.canned import Canned, answer, canned
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

SERVICE = "/_matrix/livekit/jwt"
TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
SECRET = "a secret that LiveKit knows"


@asynccontextmanager
async def calling(dsn: str, say: bytes = b"") -> AsyncIterator[tuple[RunningServer, Canned]]:
    """A server with a LiveKit that says this."""
    async with canned(lambda _: say or answer(b'{"sid":"RM_x"}')) as livekit:
        toml = (
            f'[rtc]\nlivekit_url = "ws://127.0.0.1:{livekit.port}"\nlivekit_key = "devkey"\n'
            f'livekit_secret = "{SECRET}"\n'
        )
        with tempfile.TemporaryDirectory(prefix="hansa-test-") as folder:
            async with running_server(dsn, config=config_for_tests(Path(folder), toml)) as server:
                yield server, livekit


def claims(jwt: str) -> dict[str, Any]:
    """What a token says, once its signature is checked as LiveKit would."""
    head, body, code = jwt.split(".")
    wanted = hmac.new(SECRET.encode(), f"{head}.{body}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(code + "==") == wanted
    found: dict[str, Any] = json.loads(base64.urlsafe_b64decode(body + "=="))
    return found


async def proof(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = (await client.post("/user/{}/openid/request_token", client.user_id)).ok()
    return found


async def test_a_member_gets_into_the_call(database_dsn: str) -> None:
    async with calling(database_dsn) as (server, livekit):
        alice, stranger = await server.user("alice"), server.anonymous()
        room_id = await alice.create_room()
        body = {"room": room_id, "openid_token": await proof(alice), "device_id": alice.device_id}
        older = (await stranger.post(SERVICE + "/sfu/get", body=body)).ok()
        said = claims(older["jwt"])
        alias = base64.b64encode(
            hashlib.sha256(json.dumps([room_id, "m.call#ROOM"], separators=(",", ":")).encode()).digest()
        )
        assert said["iss"] == "devkey" and said["sub"] == f"{alice.user_id}:{alice.device_id}"
        assert said["video"].pop("room") == alias.decode().rstrip("=") and not said["video"].pop("roomCreate")
        assert said["video"] == dict.fromkeys(("roomJoin", "canPublish", "canSubscribe", "canUpdateOwnMetadata"), True)
        assert older["url"] == f"ws://127.0.0.1:{livekit.port}"
        assert livekit.heard[0].startswith("POST /twirp/livekit.RoomService/CreateRoom ")
        member = {"id": "m1", "claimed_user_id": alice.user_id, "claimed_device_id": alice.device_id}
        body = {"room_id": room_id, "slot_id": "m.call#ROOM", "openid_token": await proof(alice), "member": member}
        newer = claims((await stranger.post(SERVICE + "/get_token", body=body)).ok()["jwt"])
        assert newer["video"]["room"] == alias.decode().rstrip("=") and alice.user_id not in newer["sub"]
        assert SECRET not in json.dumps(older)


def test_names_in_a_call_are_made_as_the_proposal_says() -> None:
    """MSC4195's own examples: every service must make them alike, or people of two servers don't meet."""
    names = {
        ("!roomid:example.com", "slot1234"): "O8437W3+jmzMVjoIP3tNwbm+XxHQk2iKpOA7aqw3qSc",
        ("@alice:example.com", "DEVICE123", "memberABC"): "J+T45tGruxc+HrUOqJJlyQSV33m728Cme4+vt8/SWrU",
    }
    assert {parts: calls.digest(*parts) for parts in names} == names


async def test_who_is_not_let_in(database_dsn: str) -> None:
    """A token for a call is for members of its room, who prove who they are."""
    async with calling(database_dsn) as (server, _):
        alice, bob = await server.user("alice"), await server.user("bob")
        room_id = await alice.create_room()
        path = SERVICE + "/sfu/get"
        theirs = {"room": room_id, "openid_token": await proof(bob), "device_id": "D"}
        (await bob.post(path, body=theirs)).refused(403, "M_FORBIDDEN")
        forged = {**await proof(alice), "access_token": "hso_forged"}
        (await bob.post(path, body={**theirs, "openid_token": forged})).refused(401, "M_UNKNOWN_TOKEN")
        access = {**await proof(alice), "access_token": alice.token}
        (await bob.post(path, body={**theirs, "openid_token": access})).refused(401, "M_UNKNOWN_TOKEN")
        elsewhere = {**await proof(alice), "matrix_server_name": "nowhere.invalid"}
        (await bob.post(path, body={**theirs, "openid_token": elsewhere})).refused(401, "M_UNKNOWN_TOKEN")
        member = {"id": "m", "claimed_user_id": bob.user_id, "claimed_device_id": "D"}
        body = {"room_id": room_id, "slot_id": "s", "openid_token": await proof(alice), "member": member}
        (await bob.post(SERVICE + "/get_token", body=body)).refused(401, "M_UNKNOWN_TOKEN")
        (await bob.post(path, body={"room": room_id})).refused(400, "M_MISSING_PARAM")
        (await bob.post(path, body={**theirs, "room": "x"})).refused(400, "M_INVALID_PARAM")


@pytest.mark.parametrize("say", [answer(b"{}", status=401), b"nonsense\r\n\r\n"])
async def test_livekit_that_refuses_is_no_token(database_dsn: str, say: bytes) -> None:
    async with calling(database_dsn, say) as (server, _):
        alice = await server.user("alice")
        body = {"room": await alice.create_room(), "openid_token": await proof(alice), "device_id": "D"}
        (await alice.post(SERVICE + "/sfu/get", body=body)).refused(502, "M_UNKNOWN")


async def test_clients_learn_what_carries_calls(database_dsn: str) -> None:
    async with calling(database_dsn) as (server, _):
        alice = await server.user("alice")
        (transport,) = (await alice.get(TRANSPORTS)).ok()["rtc_transports"]
        assert transport["type"] == "livekit" and transport["livekit_service_url"].endswith(SERVICE)
        assert (await alice.get("/.well-known/matrix/client")).ok()["org.matrix.msc4143.rtc_foci"] == [transport]
        assert (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]["org.matrix.msc4143"] is True


async def test_without_livekit_nothing_is_promised(server: RunningServer) -> None:
    """Never an empty list with a 200: clients take it for a server that carries calls."""
    alice = await server.user("alice")
    (await alice.get(TRANSPORTS)).refused(404, "M_UNRECOGNIZED")
    assert "org.matrix.msc4143.rtc_foci" not in (await alice.get("/.well-known/matrix/client")).ok()
    assert (await alice.get("/_matrix/client/versions")).ok()["unstable_features"]["org.matrix.msc4143"] is False
    (await alice.post(SERVICE + "/sfu/get", body={})).refused(404, "M_UNRECOGNIZED")
