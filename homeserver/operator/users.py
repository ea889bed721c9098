"""Accounts as the operator makes and mends them, beside a running server or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from admin.audit import AuditEntry, AuditLog
from admin.storage import console_sessions
from homeserver.accounts.passwords import passwords_of
from homeserver.accounts.users import Users, id_of_new
from homeserver.config import Config
from homeserver.core.identifiers import ServerName, UserId
from homeserver.journal.journal import Journal
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.storage.migrate import migrate
from homeserver.storage.users import UserRow

_PAGE = 1000


# Who acts, in the audit log, where no account does.
_BY_COMMAND = "hansa user"


@asynccontextmanager
async def operator_users(config: Config, clock: Clock) -> AsyncIterator[Users]:
    """The accounts of the configured server; its schema is brought up to date first."""
    passwords = passwords_of(config.password)
    try:
        async with connected(config, clock) as db:
            await migrate(db)
            yield Users(db, clock, passwords, Journal(db), ServerName(config.server_name))
    finally:
        passwords.close()


def check_new_name(config: Config, name: str) -> None:
    """Raises InvalidUsername for a name that no new account may have; asks no database."""
    id_of_new(name, config.server_name)


async def all_users(users: Users) -> AsyncIterator[UserRow]:
    """Every account in the order of the ids, read a page at a time."""
    after = ""
    while page := await users.page(after, _PAGE):
        for row in page:
            yield row
        after = page[-1].user_id


async def forget_factor(config: Config, clock: Clock, name: str) -> UserId | None:
    """Whose second factor was forgotten, with their sessions of the console; None where there was none."""
    async with connected(config, clock) as db:
        await migrate(db)
        localpart = name.removeprefix("@").partition(":")[0]
        user_id = UserId(f"@{localpart}:{config.server_name}")
        async with db.transaction() as tx:
            if not await console_sessions.forget_factor(tx, user_id):
                return None
            entry = AuditEntry(actor=_BY_COMMAND, action="console.forget_factor", target=user_id)
            await AuditLog(clock).record(tx, entry)
        return user_id
