"""Tokens for operators' programs: some permissions, for a time, for nothing but the admin API."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.storage.database import Database
from tests.admin.people import OPERATORS, Crew
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server

TOKENS = "/_hansa/admin/v1/tokens"
USERS = "/_synapse/admin/v2/users"


async def program(server: RunningServer, operator: Client, **body: Any) -> Client:
    """A program with a token of this operator's."""
    made = (await operator.post(TOKENS, body={"name": "script", "scopes": ["read_users"], **body})).ok()
    client = server.anonymous()
    client.token = made["token"]
    return client


async def test_a_token_does_what_it_was_given(server: RunningServer, crew: Crew, database: Database) -> None:
    """T-J2, T-I11: no more than its scopes, no other API, no other tokens; its text is kept nowhere."""
    script = await program(server, crew.admin)
    assert (await script.get(USERS)).ok()["total"] == 5
    (await script.post("/_synapse/admin/v1/deactivate/{}", crew.user.user_id)).refused(403, "M_FORBIDDEN")
    (await script.get("/account/whoami")).refused(403, "M_FORBIDDEN")
    (await script.get("/sync")).refused(403, "M_FORBIDDEN")
    (await script.post("/logout")).refused(403, "M_FORBIDDEN")
    wide = await program(server, crew.admin, scopes=["own_tokens", "read_users"])
    (await wide.post(TOKENS, body={"name": "x", "scopes": ["read_users"]})).refused(403, "M_FORBIDDEN")
    kept = str([tuple(row) for row in await database.fetch("SELECT * FROM operator_tokens")])
    kept += str([tuple(row) for row in await database.fetch("SELECT * FROM audit_log")])
    assert script.token is not None and script.token not in kept


async def test_a_token_lets_nobody_into_accounts(server: RunningServer, crew: Crew) -> None:
    """T-J2: without that scope neither into a user's nor into that of its own operator, by no address or identity."""
    script = await program(server, crew.owner, scopes=["change_users", "read_users"])
    for user_id in (crew.user.user_id, crew.owner.user_id):
        for body in (
            {"threepids": [{"medium": "email", "address": "mallory@example.org"}]},
            {"external_ids": [{"auth_provider": "oidc", "external_id": "mallory"}]},
        ):
            answer = await script.put("/_synapse/admin/v2/users/{}", user_id, body=body)
            answer.refused(403, "M_FORBIDDEN")
    (await script.put("/_synapse/admin/v2/users/{}", crew.user.user_id, body={"displayname": "x"})).ok()


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"scopes": []}, 400, "M_INVALID_PARAM"),
        ({"scopes": ["everything"]}, 400, "M_BAD_JSON"),
        ({"scopes": ["change_operators"]}, 403, "M_FORBIDDEN"),
        ({"name": ""}, 400, "M_INVALID_PARAM"),
        ({"expires_in_s": 0}, 400, "M_INVALID_PARAM"),
        ({"expires_in_s": 10**9}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_what_no_token_may_be(crew: Crew, body: dict[str, Any], status: int, errcode: str) -> None:
    """T-J2: nobody gives what they don't hold."""
    wish = {"name": "script", "scopes": ["read_users"], **body}
    (await crew.admin.post(TOKENS, body=wish)).refused(status, errcode)


async def test_tokens_end(server: RunningServer, crew: Crew) -> None:
    """T-J2: by their holder or an owner; by losing the role; nobody learns of those of others."""
    script = await program(server, crew.admin)
    [one] = (await crew.admin.get(TOKENS)).ok()["tokens"]
    assert one["name"] == "script" and "token" not in one
    assert (await crew.moderator.get(TOKENS)).ok() == {"tokens": []}
    (await crew.moderator.get(TOKENS, everybodys="true")).refused(403, "M_FORBIDDEN")
    assert (await crew.owner.get(TOKENS, everybodys="true")).ok()["tokens"] == [one]
    (await crew.moderator.delete(TOKENS + "/{}", one["id"])).refused(404, "M_NOT_FOUND")
    (await crew.admin.delete(TOKENS + "/x")).refused(404, "M_NOT_FOUND")
    (await script.get(USERS)).ok()
    (await crew.owner.delete(TOKENS + "/{}", one["id"])).ok()
    (await script.get(USERS)).refused(401, "M_UNKNOWN_TOKEN")
    other = await program(server, crew.moderator)
    (await other.get(USERS)).ok()
    (await crew.owner.delete(OPERATORS, crew.moderator.user_id)).ok()
    (await other.get(USERS)).refused(403, "M_FORBIDDEN")


async def test_tokens_expire(database_dsn: str) -> None:
    from tests.admin.people import crew_of

    clock = FakeClock()
    async with running_server(database_dsn, clock=clock) as server:
        crew = await crew_of(server)
        script = await program(server, crew.auditor, expires_in_s=60)
        (await script.get(USERS)).ok()
        clock.advance(61)
        (await script.get(USERS)).refused(401, "M_UNKNOWN_TOKEN")
