"""`hansa audit verify`: says that the log is whole, or where it isn't, and by its exit code."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator

import pytest

from admin.audit import AuditEntry, AuditLog
from homeserver.cli import run_command
from homeserver.storage.database import Database
from tests.kit.clock import FakeClock
from tests.kit.postgres import PostgresForTests


@pytest.fixture
def dsn(postgres: PostgresForTests, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A database that commands find, with three entries in its log."""
    loop = asyncio.new_event_loop()
    fresh = postgres.fresh()
    chosen = loop.run_until_complete(fresh.__aenter__())
    monkeypatch.setenv("HANSA_DATABASE__DSN", chosen)
    loop.run_until_complete(_filled(chosen))
    yield chosen
    loop.run_until_complete(fresh.__aexit__(None, None, None))
    loop.close()


async def _filled(dsn: str) -> None:
    db = await Database.connect(dsn, size_min=1, size_max=1)
    for number in range(3):
        async with db.transaction() as tx:
            await AuditLog(FakeClock()).record(tx, AuditEntry(actor="@a:x", action="user.modify", target=str(number)))
    await db.close()


async def _tampered(dsn: str) -> None:
    db = await Database.connect(dsn, size_min=1, size_max=1)
    await db.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
    await db.execute("UPDATE audit_log SET actor = '@b:x' WHERE entry_nid = 2")
    await db.close()


def test_verify(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """T-J16."""
    capsys.readouterr()
    assert run_command(["audit", "verify"]) == 0
    assert capsys.readouterr().out.startswith("3 entries, unbroken; head ")
    asyncio.run(_tampered(dsn))
    assert run_command(["audit", "verify"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and "error: entry 2 was changed" in said.err and "hint: " in said.err
    assert run_command(["audit", "verify", "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["broken_at"], told["entries"]) == (2, 1)
