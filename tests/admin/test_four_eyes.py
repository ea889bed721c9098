"""Acts that need two operators: asked for by trying, approved by another, done once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.admin.people import Crew, crew_of
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer, running_server

APPROVALS = "/_hansa/admin/v1/approvals"
DEACTIVATE = "/_synapse/admin/v1/deactivate/{}"
CONFIGURED = '[admin]\nsecond_operator_for = ["erase", "impersonate", "delete_room", "purge_history"]\n'


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def server(database_dsn: str, clock: FakeClock) -> AsyncIterator[RunningServer]:
    async with running_server(database_dsn, toml=CONFIGURED, clock=clock) as running:
        yield running


@pytest.fixture
async def crew(server: RunningServer) -> Crew:
    return await crew_of(server)


async def asked(client: Client, path: str, *segments: str, method: str = "POST", body: Any = None) -> str:
    """The id of the approval that the act needs now."""
    answer = await client.request(method, path, *segments, body=body if body is not None else {})
    approval_id: str = answer.refused(403, "M_FORBIDDEN")["approval_id"]
    return approval_id


async def test_two_erase_an_account(crew: Crew) -> None:
    """T-J15, T-J16: not alone, not by approving oneself, not twice with one approval; a row for each step."""
    body = {"erase": True}
    wanted = await asked(crew.admin, DEACTIVATE, crew.user.user_id, body=body)
    assert await asked(crew.admin, DEACTIVATE, crew.user.user_id, body=body) == wanted
    (await crew.user.get("/account/whoami")).ok()
    (await crew.admin.post(APPROVALS + "/{}", wanted)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.post(APPROVALS + "/{}", wanted)).refused(403, "M_FORBIDDEN")
    [waiting] = (await crew.owner.get(APPROVALS)).ok()["approvals"]
    assert (waiting["act"], waiting["target"], waiting["asked_by"]) == (
        "erase",
        crew.user.user_id,
        crew.admin.user_id,
    )
    (await crew.owner.post(APPROVALS + "/{}", wanted)).ok()
    # It is the asker's alone.
    await asked(crew.owner, DEACTIVATE, crew.user.user_id, body=body)
    (await crew.admin.post(DEACTIVATE, crew.user.user_id, body=body)).ok()
    rows = (await crew.owner.get("/_hansa/admin/v1/audit", limit=5)).ok()["entries"]
    assert [row["action"] for row in rows] == [
        "user.deactivate", "approval.use", "approval.ask", "approval.give", "approval.ask",
    ]  # fmt: skip
    await asked(crew.admin, DEACTIVATE, crew.user.user_id, body=body)


async def test_what_else_needs_two(server: RunningServer, crew: Crew) -> None:
    """T-J15: impersonation in every form, room deletion, purge; and what isn't named needs nobody."""
    room = await crew.user.create_room()
    await crew.user.send(room)
    login, user = "/_synapse/admin/v1/users/{}/login", crew.user.user_id
    wanted = await asked(crew.admin, login, user)
    reset = "/_synapse/admin/v1/reset_password/{}"
    assert await asked(crew.admin, reset, user, body={"new_password": "the next password"}) == wanted
    put = "/_synapse/admin/v2/users/{}"
    assert await asked(crew.admin, put, user, method="PUT", body={"password": "the next password"}) == wanted
    await asked(crew.admin, "/_synapse/admin/v2/rooms/{}", room, method="DELETE")
    await asked(crew.admin, "/_synapse/admin/v1/purge_history/{}", room, body={"purge_up_to_ts": 2**45})
    (await crew.owner.post(APPROVALS + "/{}", wanted)).ok()
    assert (await crew.admin.post(login, user)).ok()["access_token"]
    (await crew.admin.post(DEACTIVATE, user)).ok()


async def test_an_approval_is_good_for_an_hour(crew: Crew, clock: FakeClock) -> None:
    body = {"erase": True}
    wanted = await asked(crew.admin, DEACTIVATE, crew.user.user_id, body=body)
    (await crew.owner.post(APPROVALS + "/{}", wanted)).ok()
    clock.advance(3601)
    again = await asked(crew.admin, DEACTIVATE, crew.user.user_id, body=body)
    assert again != wanted
    clock.advance(3601)
    (await crew.owner.post(APPROVALS + "/{}", again)).refused(404, "M_NOT_FOUND")
    (await crew.owner.post(APPROVALS + "/none")).refused(404, "M_NOT_FOUND")


async def test_no_address_lets_one_in_alone(crew: Crew) -> None:
    """T-J2, T-J15: who names an address or an identity for an account gets in by it: that is impersonation too."""
    put, user = "/_synapse/admin/v2/users/{}", crew.user.user_id
    address = {"threepids": [{"medium": "email", "address": "mallory@example.org"}]}
    identity = {"external_ids": [{"auth_provider": "oidc", "external_id": "mallory"}]}
    wanted = await asked(crew.admin, put, user, method="PUT", body=address)
    assert await asked(crew.admin, put, user, method="PUT", body=identity) == wanted
    (await crew.owner.post(APPROVALS + "/{}", wanted)).ok()
    (await crew.admin.put(put, user, body=address)).ok()
    # What is there already, and taking it away, lets nobody in.
    (await crew.admin.put(put, user, body=address)).ok()
    (await crew.admin.put(put, user, body={"threepids": []})).ok()


async def test_what_waits_for_another_has_changed_nothing(crew: Crew) -> None:
    """T-J2: no role is given along with a password that was refused."""
    put, user = "/_synapse/admin/v2/users/{}", crew.user.user_id
    await asked(crew.owner, put, user, method="PUT", body={"admin": True, "password": "the next password"})
    assert (await crew.owner.get(put, user)).ok()["admin"] is False
