"""Roles: given, taken, and never without an owner; the audit log: complete, chained, only added to."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from admin.audit import AuditEntry, AuditLog, verify
from homeserver.core.operators import PERMISSIONS, Permission, Role, may_act_on
from homeserver.storage.database import Database
from tests.admin.people import OPERATORS, Crew, owner_of
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer

AUDIT = "/_hansa/admin/v1/audit"


async def entries(client: Client, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await client.get(AUDIT, **query)).ok()["entries"]
    return found


def test_what_roles_hold() -> None:
    assert PERMISSIONS[Role.OWNER] == frozenset(Permission)
    assert all(
        permission.startswith("read_") or permission is Permission.OWN_TOKENS
        for permission in PERMISSIONS[Role.AUDITOR]
    )
    assert Permission.READ_CONTENT not in PERMISSIONS[Role.AUDITOR]
    assert Permission.CHANGE_OPERATORS not in PERMISSIONS[Role.ADMIN]
    assert Permission.END_USERS not in PERMISSIONS[Role.MODERATOR]


@pytest.mark.parametrize(
    ("role", "target", "allowed"),
    [
        (Role.OWNER, Role.OWNER, True),
        (Role.ADMIN, Role.OWNER, False),
        (Role.ADMIN, Role.ADMIN, False),
        (Role.ADMIN, Role.MODERATOR, True),
        (Role.MODERATOR, Role.MODERATOR, False),
        (Role.MODERATOR, Role.AUDITOR, True),
        (Role.MODERATOR, None, True),
    ],
)
def test_who_may_act_on_whom(role: Role, target: Role | None, allowed: bool) -> None:
    """T-J2: nobody acts on their equals or those above."""
    assert may_act_on(role, target) is allowed


async def test_roles_are_given_and_taken(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-J16: only an owner does it, at once in force, and the log says so."""
    for other in (crew.admin, crew.moderator, crew.auditor, crew.user):
        (await other.put(OPERATORS, crew.user.user_id, body={"role": "owner"})).refused(403, "M_FORBIDDEN")
        (await other.delete(OPERATORS, crew.auditor.user_id)).refused(403, "M_FORBIDDEN")
    told = (await crew.auditor.get("/_hansa/admin/v1/operators")).ok()["operators"]
    assert {one["user_id"]: one["role"] for one in told} == {
        crew.owner.user_id: "owner",
        crew.admin.user_id: "admin",
        crew.moderator.user_id: "moderator",
        crew.auditor.user_id: "auditor",
    }
    (await crew.owner.put(OPERATORS, crew.user.user_id, body={"role": "king"})).refused(400, "M_BAD_JSON")
    (await crew.owner.put(OPERATORS, "@nobody:hansa.test", body={"role": "admin"})).refused(404, "M_NOT_FOUND")
    (await crew.owner.delete(OPERATORS, crew.user.user_id)).refused(404, "M_NOT_FOUND")
    (await crew.owner.delete(OPERATORS, crew.auditor.user_id)).ok()
    (await crew.auditor.get(AUDIT)).refused(403, "M_FORBIDDEN")
    newest = (await entries(crew.owner, limit=1))[0]
    assert newest["actor"] == crew.owner.user_id and newest["action"] == "operator.role"
    assert (newest["target"], newest["before"]) == (crew.auditor.user_id, {"role": "auditor"})
    assert newest["after"] == {"role": None} and newest["address"] == "127.0.0.1" and newest["request_id"]


async def test_the_last_owner_stays(server: RunningServer, crew: Crew) -> None:
    """T-J2: not taken, not lessened, not deactivated; not by two who do it to each other at once either."""
    owner = crew.owner
    (await owner.put(OPERATORS, owner.user_id, body={"role": "auditor"})).refused(403, "M_FORBIDDEN")
    (await owner.delete(OPERATORS, owner.user_id)).refused(403, "M_FORBIDDEN")
    identifier = {"type": "m.id.user", "user": "owner"}
    auth = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}
    (await owner.post("/account/deactivate", body={"auth": auth})).refused(403, "M_FORBIDDEN")
    second = await owner_of(server, "second")
    both = await asyncio.gather(owner.delete(OPERATORS, second.user_id), second.delete(OPERATORS, owner.user_id))
    assert sorted(answer.status for answer in both) == [200, 403]
    left = (await crew.auditor.get("/_hansa/admin/v1/operators")).ok()["operators"]
    assert [one["role"] for one in left].count("owner") == 1


async def test_the_log_is_read_by_page_and_filter(crew: Crew) -> None:
    first = (await crew.owner.get(AUDIT, limit=2)).ok()
    assert [one["id"] for one in first["entries"]] == [3, 2]
    rest = (await crew.owner.get(AUDIT, limit=2, **{"from": first["next_token"]})).ok()
    assert [one["id"] for one in rest["entries"]] == [1] and "next_token" not in rest
    assert len(await entries(crew.owner, target=crew.moderator.user_id)) == 1
    assert await entries(crew.owner, actor=crew.user.user_id) == []
    assert await entries(crew.owner, from_ts=rest["entries"][0]["ts"], until_ts=0) == []
    (await crew.owner.get(AUDIT, limit=0)).refused(400, "M_INVALID_PARAM")
    (await crew.moderator.get(AUDIT)).refused(403, "M_FORBIDDEN")


async def filled(database: Database, count: int) -> None:
    log = AuditLog(FakeClock())
    for number in range(count):
        async with database.transaction() as tx:
            entry = AuditEntry(actor="@a:x", action="user.modify", target=f"t{number}", after={"number": number})
            await log.record(tx, entry)


async def test_the_log_is_only_added_to(database: Database) -> None:
    """T-J16: the database refuses to change, delete or empty it."""
    await filled(database, 2)
    for statement in ("UPDATE audit_log SET actor = 'x'", "DELETE FROM audit_log", "TRUNCATE audit_log"):
        with pytest.raises(asyncpg.RaiseError, match="only added to"):
            await database.execute(statement)
    assert (await verify(database)).entries == 2


@pytest.mark.parametrize(
    ("tampering", "broken_at"),
    [
        ("UPDATE audit_log SET reason = 'another' WHERE entry_nid = 3", 3),
        ("UPDATE audit_log SET ts = ts + 1 WHERE entry_nid = 1", 1),
        ("DELETE FROM audit_log WHERE entry_nid = 2", 2),
        ("DELETE FROM audit_log WHERE entry_nid = 5", 5),
        ("DELETE FROM audit_log", 1),
        ("UPDATE audit_head SET hash = decode(repeat('11', 32), 'hex')", 5),
    ],
)
async def test_tampering_shows(database: Database, tampering: str, broken_at: int) -> None:
    """T-J16: who has the database can switch the triggers off, but not mend the chain."""
    await filled(database, 5)
    assert (await verify(database)).broken_at is None
    await database.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
    await database.execute(tampering)
    verdict = await verify(database)
    assert verdict.broken_at == broken_at and verdict.problem


async def test_what_a_row_never_holds(database: Database) -> None:
    """T-J16, T-J6: no secrets, no line breaks, nothing endless; a transaction that fails leaves no row."""
    log = AuditLog(FakeClock())
    async with database.transaction() as tx:
        secret = {"password": "hunter22", "inner": [{"access_token": "hsa_x"}], "password_set": True}
        entry = AuditEntry(actor="@a:x", action="user.modify", target="x\nforged\x00" + "y" * 9999, before=secret)
        await log.record(tx, entry)
    [row] = await log.page(database)
    assert row.before is not None and "hunter22" not in row.before and "hsa_x" not in row.before
    assert '"password_set":true' in row.before and "\n" not in row.target and len(row.target) == 512
    with pytest.raises(RuntimeError):
        async with database.transaction() as tx:
            await log.record(tx, AuditEntry(actor="@a:x", action="user.lock", target="x", after={"all": "z" * 99_999}))
            raise RuntimeError
    assert (await verify(database)).entries == 1
