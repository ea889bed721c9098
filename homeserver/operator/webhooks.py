"""Webhooks as the operator makes and removes them, beside a running server or without one."""

from __future__ import annotations

from admin.audit import AuditEntry, AuditLog
from homeserver.config import Config
from homeserver.core.identifiers import RoomId, UserId
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import event_webhooks, webhooks
from homeserver.storage.event_webhooks import EventWebhookRow
from homeserver.storage.migrate import migrate
from homeserver.storage.webhooks import WebhookRow
from homeserver.webhooks.registry import PER_ROOM_MAX, Wish, check_made, inbound, path_of

_BY_COMMAND = "hansa webhook"
LISTED_MAX = 10_000


async def make(config: Config, clock: Clock, randomness: Randomness, room_id: RoomId, owner: UserId, wish: Wish) -> str:
    """The URL at which the source delivers. Its first delivery brings the account into the room, as `owner` could.

    Raises InvalidParam, LimitExceeded.
    """
    row, token = inbound(room_id, wish, owner, clock, randomness)
    async with connected(config, clock) as db:
        await migrate(db)
        async with db.transaction() as tx:
            check_made(await webhooks.insert(tx, row, PER_ROOM_MAX))
            after = {"source": row.source, "name": row.name, "owner": owner, "room_id": room_id}
            entry = AuditEntry(
                actor=_BY_COMMAND, action="webhook.create", target=f"webhook:{row.webhook_id}", after=after
            )
            await AuditLog(clock).record(tx, entry)
    return config.base_url + path_of(row.webhook_id, token)


async def all_of_them(config: Config, clock: Clock) -> tuple[list[WebhookRow], list[EventWebhookRow]]:
    """Those that tell rooms, and those that rooms tell."""
    async with connected(config, clock) as db:
        await migrate(db)
        return await webhooks.some(db, LISTED_MAX), await event_webhooks.all_of_them(db)


async def remove(config: Config, clock: Clock, webhook_id: str) -> bool:
    """Whether there was one, of either kind."""
    async with connected(config, clock) as db:
        await migrate(db)
        async with db.transaction() as tx:
            if not (await webhooks.delete(tx, webhook_id) or await event_webhooks.delete(tx, webhook_id)):
                return False
            entry = AuditEntry(actor=_BY_COMMAND, action="webhook.remove", target=f"webhook:{webhook_id}")
            await AuditLog(clock).record(tx, entry)
    return True
