"""Logging in another device by a token, and the rooms that a newcomer finds themselves in."""

from __future__ import annotations

import asyncio
from typing import Any

from homeserver.accounts.login_tokens import PER_USER_MAX
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import SOON_S

PASSWORD = "correct horse battery"


async def token_of(client: Client, password: str = PASSWORD) -> Any:
    identifier = {"type": "m.id.user", "user": client.user_id}
    auth = {"type": "m.login.password", "identifier": identifier, "password": password}
    return await client.post("/_matrix/client/v1/login/get_token", body={"auth": auth})


async def by_token(server: RunningServer, token: Any) -> Any:
    return await server.anonymous().post("/login", body={"type": "m.login.token", "token": token})


async def test_a_token_brings_another_device_in_once(server: RunningServer) -> None:
    """T-I20, T-I25: used up by being used, whoever uses it; given only for a fresh proof (T-I6)."""
    alice = await server.user("alice")
    flows = (await server.anonymous().get("/login")).ok()["flows"]
    assert {"type": "m.login.token", "get_login_token": True} in flows
    assert (await alice.get("/capabilities")).ok()["capabilities"]["m.get_login_token"]["enabled"]
    assert "flows" in (await alice.post("/_matrix/client/v1/login/get_token")).json
    assert (await token_of(alice, "wrong")).status == 401
    given = (await token_of(alice)).ok()
    assert given["expires_in_ms"] == 120_000
    opened = (await by_token(server, given["login_token"])).ok()
    assert opened["user_id"] == alice.user_id and opened["device_id"] != alice.device_id
    (await by_token(server, given["login_token"])).refused(403, "M_FORBIDDEN")


async def test_tokens_that_are_not_good(database_dsn: str) -> None:
    """T-I20, T-I25: two minutes, not for an account that has ended."""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        second = (await token_of(alice)).ok()["login_token"]
        clock.advance(121)
        (await by_token(server, second)).refused(403, "M_FORBIDDEN")
        for odd in ("", "hsl_x", "\x00", "x" * 5000, alice.token):
            (await by_token(server, odd)).refused(403, "M_FORBIDDEN")
        (await by_token(server, None)).refused(400, "M_MISSING_PARAM")
        third = (await token_of(alice)).ok()["login_token"]
        identifier = {"type": "m.id.user", "user": alice.user_id}
        auth = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        assert (await alice.post("/account/deactivate", body={"auth": auth})).status == 200
        assert (await by_token(server, third)).status == 403


async def test_a_token_for_each_of_several_devices(database_dsn: str) -> None:
    """T-I25: a few at once, each good once; of too many the oldest ends. spec: #post_matrixclientv1loginget_token"""
    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        alice = await server.user("alice")
        given = []
        for _ in range(PER_USER_MAX + 1):
            given.append((await token_of(alice)).ok()["login_token"])
            clock.advance(1)
        answers = [await by_token(server, token) for token in given]
        assert [answer.status for answer in answers] == [403, *[200] * PER_USER_MAX]


async def test_one_of_many_gets_in(server: RunningServer) -> None:
    """T-I20: a token that is used by several at once lets one of them in."""
    alice = await server.user("alice")
    token = (await token_of(alice)).ok()["login_token"]
    answers = await asyncio.gather(*(by_token(server, token) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200, *[403] * 5]


async def test_newcomers_are_in_the_rooms_for_all(database_dsn: str) -> None:
    """`registration.auto_join_rooms`; one that doesn't exist keeps nobody out of the others."""
    rooms = 'auto_join_rooms = ["#nowhere:hansa.test", "#all:hansa.test"]'
    async with running_server(database_dsn, registration=rooms) as server:
        alice = await server.user("alice")
        room = await alice.create_room(preset="public_chat", room_alias_name="all")
        bob = await server.user("bob")
        async with asyncio.timeout(SOON_S):
            while (await bob.get("/joined_rooms")).ok()["joined_rooms"] != [room]:
                pass
