"""Webhooks as the operator makes and removes them, beside a running server or without one."""

from __future__ import annotations

from collections.abc import Sequence

from admin.audit import AuditEntry, AuditLog
from homeserver.config import Config
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, UserId
from homeserver.operator.database import connected
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import event_webhooks, events, room_facts, rooms, webhooks
from homeserver.storage.event_webhooks import EventWebhookRow
from homeserver.storage.migrate import migrate
from homeserver.storage.webhooks import WebhookRow
from homeserver.webhooks.registry import PER_ROOM_MAX, Wish, check_made, inbound, outbound, path_of, switched_on

_BY_COMMAND = "hansa webhook"
LISTED_MAX = 10_000


async def make(config: Config, clock: Clock, randomness: Randomness, room_id: RoomId, owner: UserId, wish: Wish) -> str:
    """The URL at which the source delivers. Its first delivery brings the account into the room, as `owner` could.

    Raises InvalidParam, also for an encrypted room where the wish isn't to speak in the clear, LimitExceeded.
    """
    row, token = inbound(room_id, wish, owner, clock, randomness)
    async with connected(config, clock) as db:
        await migrate(db)
        known = await rooms.by_ids(db, [room_id])
        if not wish.in_the_clear and await room_facts.count_encrypted(db, [room.nid for room in known]):
            raise InvalidParam("this room is encrypted, and a webhook isn't: allow it with --in-the-clear")
        async with db.transaction() as tx:
            check_made(await webhooks.insert(tx, row, PER_ROOM_MAX))
            after = {"source": row.source, "name": row.name, "owner": owner, "room_id": room_id}
            entry = AuditEntry(
                actor=_BY_COMMAND, action="webhook.create", target=f"webhook:{row.webhook_id}", after=after
            )
            await AuditLog(clock).record(tx, entry)
    return config.base_url + path_of(row.webhook_id, token)


async def make_outbound(
    config: Config,
    clock: Clock,
    randomness: Randomness,
    room_id: RoomId,
    owner: UserId,
    name: str,
    url: str,
    types: Sequence[str],
) -> str:
    """Tells a URL what happens in a room from now on; the secret that it signs with.

    Raises InvalidParam, LimitExceeded, NotFound for a room that isn't here.
    """
    async with connected(config, clock) as db:
        await migrate(db)
        known = await rooms.by_ids(db, [room_id])
        if not known:
            raise NotFound(f"this server isn't in {room_id}")
        newest = await events.newest_positions(db, [known[0].nid])
        row = outbound(room_id, name, url, types, owner, newest.get(known[0].nid, 0), clock, randomness)
        async with db.transaction() as tx:
            check_made(await event_webhooks.insert(tx, row, PER_ROOM_MAX))
            after = {"url": row.url, "name": row.name, "owner": owner, "room_id": room_id, "types": list(row.types)}
            entry = AuditEntry(
                actor=_BY_COMMAND, action="webhook.create", target=f"webhook:{row.webhook_id}", after=after
            )
            await AuditLog(clock).record(tx, entry)
    return row.signing_secret


async def resume(config: Config, clock: Clock, webhook_id: str) -> bool:
    """Switches on again one that was given up; whether there is one that tells a URL."""
    async with connected(config, clock) as db:
        await migrate(db)
        async with db.transaction() as tx:
            row = await event_webhooks.one(tx, webhook_id)
            if row is None:
                return False
            await switched_on(tx, row)
            entry = AuditEntry(actor=_BY_COMMAND, action="webhook.resume", target=f"webhook:{webhook_id}")
            await AuditLog(clock).record(tx, entry)
    return True


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
