"""Webhooks both ways, and the account that speaks for them."""

from __future__ import annotations

from homeserver.accounts.users import NewUser
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.people import PeopleParts
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.webhooks import WebhookEndpoints
from homeserver.core.identifiers import UserId
from homeserver.webhooks.hearing import Hearing
from homeserver.webhooks.in_rooms import InRooms, RoomTools
from homeserver.webhooks.registry import Speaker, Webhooks
from homeserver.webhooks.telling import Telling, TellingTools


async def build_webhooks(
    base: Base, accounts: AccountParts, parts: RoomParts, commands: CommandParts, people: PeopleParts
) -> list[object]:
    """The endpoints. Begins to tell what happens from here on: call it before anybody can write."""
    db, clock, tasks = base.world.db, base.world.clock, base.tasks
    registry = Webhooks(db, parts.rooms, commands.membership, _speaker(base, accounts), clock, base.world.randomness)
    hearing = Hearing(registry, db, parts.rooms, parts.submission, base.limiter)

    async def tell(user_id: UserId, words: str) -> None:
        await people.notices.send(user_id, {"msgtype": "m.notice", "body": words})

    telling = Telling(
        TellingTools(
            db=db,
            rooms=parts.rooms,
            history=parts.history,
            client_events=parts.client_events,
            outgoing=base.outgoing,
            tell=tell,
            me=registry.speaker.user_id,
        ),
        clock,
        tasks,
    )
    registry.on_change = telling.load
    tools = RoomTools(
        submission=parts.submission,
        membership=commands.membership,
        limits=base.limiter,
        tell=tell,
        base_url=base.config.base_url,
    )
    in_rooms = InRooms(registry, hearing, tools, tasks, clock)
    parts.journal.listen(telling.hear)
    parts.journal.listen(in_rooms.hear)
    await telling.load()
    tasks.forever(telling.look, name="event_webhooks")
    tasks.forever(lambda: hearing.sweep(clock), name="webhook_alerts")
    return [WebhookEndpoints(registry, hearing, clock, base.config.base_url)]


def _speaker(base: Base, accounts: AccountParts) -> Speaker:
    chosen, users = base.config.webhooks, accounts.users
    user_id = users.user_id_of(chosen.localpart)

    async def make() -> None:
        if await users.existing([user_id]):
            return
        async with base.world.db.transaction() as tx:
            await users.insert(tx, NewUser(user_id=user_id, display_name=chosen.display_name, user_type="bot"))

    return Speaker(user_id=user_id, make=make)
