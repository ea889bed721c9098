"""Proving to others who one is; asking bridges; well-known files."""

from __future__ import annotations

import pytest

from homeserver.core.errors import UnknownToken
from tests.kit.clock import FakeClock
from tests.kit.server import RunningServer, running_server


async def test_openid_tokens_tell_who_one_is_and_no_more(database_dsn: str) -> None:
    """T-I26: short-lived, for one purpose; T-A17: of users of this server alone."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice, bob = await server.user("alice"), await server.user("bob")
        path = "/user/{}/openid/request_token"
        given = (await alice.post(path, alice.user_id)).ok()
        assert given == {**given, "token_type": "Bearer", "matrix_server_name": "hansa.test", "expires_in": 3600}
        openid = server.hansa.people.openid
        assert await openid.holder(given["access_token"]) == alice.user_id
        (await bob.post(path, alice.user_id)).refused(403, "M_FORBIDDEN")
        userinfo = "/_matrix/federation/v1/openid/userinfo"
        asked = server.anonymous()
        assert (await asked.get(userinfo, access_token=given["access_token"])).ok() == {"sub": alice.user_id}
        for wrong in (alice.token, "x", ""):
            assert (await asked.get(userinfo, access_token=wrong)).status == 401
        thief = server.anonymous()
        thief.token = given["access_token"]
        (await thief.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
        for wrong in (alice.token or "", "x" * 1000, "\ud800", ""):
            with pytest.raises(UnknownToken):
                await openid.holder(wrong)
        clock.advance(3601)
        (await asked.get(userinfo, access_token=given["access_token"])).refused(401, "M_UNKNOWN_TOKEN")
        with pytest.raises(UnknownToken):
            await openid.holder(given["access_token"])


async def test_tokens_are_capped(server: RunningServer) -> None:
    alice = await server.user("alice")
    given = [(await alice.post("/user/{}/openid/request_token", alice.user_id)).ok() for _ in range(52)]
    assert await server.db.fetchval("SELECT count(*) FROM openid_tokens") == 50
    assert await server.hansa.people.openid.holder(given[-1]["access_token"]) == alice.user_id


async def test_no_networks(server: RunningServer) -> None:
    alice = await server.user("alice")
    assert (await alice.get("/thirdparty/protocols")).ok() == {}
    for path in ("protocol/irc", "user/irc?nick=a", "location/irc", "user?userid=@a:b", "location?alias=%23a:b"):
        (await alice.get("/thirdparty/" + path)).refused(404, "M_NOT_FOUND")
    (await alice.get("/thirdparty/user")).refused(400, "M_MISSING_PARAM")
    (await alice.get("/thirdparty/location?alias=x")).refused(400, "M_INVALID_PARAM")


async def test_policy_server_key(database_dsn: str) -> None:
    async with running_server(database_dsn, toml='[well_known]\npolicy_server_key = "abc"\n') as server:
        answer = await server.anonymous().get("/.well-known/matrix/policy_server")
        assert answer.ok() == {"public_keys": {"ed25519": "abc"}}


async def test_no_policy_server(server: RunningServer) -> None:
    (await server.anonymous().get("/.well-known/matrix/policy_server")).refused(404, "M_NOT_FOUND")
