"""Bans that policy lists make in rooms, and that end when no list of the room says so any more.

A ban is the list's while it is the very event that was sent for it: one that somebody made by hand, before or since, is
theirs, and stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence

import structlog

from admin.audit import AuditEntry, AuditLog
from admin.audit_actions import Action
from admin.room_hand import RoomHand
from admin.spam.book import BY_ITSELF
from admin.spam.policy_lists import Bans
from admin.storage import spam_list_bans
from admin.storage.spam_list_bans import ListBanRow
from homeserver.core.errors import MatrixError
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, UserId, domain_of
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

log = structlog.get_logger()

# Of each room, of bans and of what is lifted.
STEPS_A_ROUND = 50
LIFTED = "no policy list of this room says so any more"


class ListBans:
    """Bans who is named, and lifts the bans of those who are named no more."""

    def __init__(self, db: Database, hand: RoomHand, audit: AuditLog, clock: Clock) -> None:
        self._db = db
        self._hand = hand
        self._audit = audit
        self._clock = clock

    async def apply(self, room_id: RoomId, bans: Bans, made: Sequence[ListBanRow]) -> bool:
        """Brings one room in line; `made` are the bans that lists made there. Whether there is more to be done.

        What the room refuses is told to the log. Done twice, it does nothing the second time.
        """
        room = await self._hand.rooms.get(room_id)
        if room is None:
            await self._forget(room_id, [one.user_id for one in made])
            return False
        over, named = await asyncio.to_thread(_compared, made, list(room.members.items()), bans)
        lifted = 0
        for one, is_named in over[:STEPS_A_ROUND]:
            lifted += await self._keep(room_id, self._end(room, one, is_named=is_named))
        banned = 0
        for user_id, why in named[:STEPS_A_ROUND]:
            banned += await self._keep(room_id, self._ban(room_id, user_id, why))
        return (lifted > 0 and len(over) > STEPS_A_ROUND) or (banned > 0 and len(named) > STEPS_A_ROUND)

    async def _keep(self, room_id: RoomId, step: Coroutine[None, None, None]) -> bool:
        """Whether the room took it."""
        try:
            await step
        except MatrixError as error:
            log.warning("spam_list_not_applied", room_id=room_id, why=str(error)[:200])
            return False
        return True

    async def _ban(self, room_id: RoomId, user_id: UserId, why: str) -> None:
        async with self._db.transaction() as tx:
            await spam_list_bans.begin(tx, room_id, user_id, self._clock.now_ms())
        try:
            event = await self._hand.set_member(room_id, user_id, "ban", why)
        except MatrixError:
            await self._forget(room_id, [user_id])
            raise
        async with self._db.transaction() as tx:
            if event is not None:
                await spam_list_bans.made(tx, room_id, user_id, event.event_id)
            await self._audit.record(tx, _entry("room.list_ban", room_id, user_id, why, "ban"))

    async def _end(self, room: Room, made: ListBanRow, *, is_named: bool) -> None:
        """Lifts a ban that is still the list's; one that isn't is the list's no more."""
        room_id, user_id = made.room_id, made.user_id
        room = await self._hand.rooms.with_known(room, [("m.room.member", user_id)])
        event = room.known_state("m.room.member", user_id)
        is_ours = event is not None and self._is_ours(event, made)
        if is_ours and is_named and event is not None:  # the server stopped before it wrote down which event it was
            async with self._db.transaction() as tx:
                await spam_list_bans.made(tx, room_id, user_id, event.event_id)
            return
        if is_ours:
            await self._hand.set_member(room_id, user_id, "leave", LIFTED)
        async with self._db.transaction() as tx:
            await spam_list_bans.forget(tx, room_id, [user_id])
            if is_ours:
                await self._audit.record(tx, _entry("room.list_unban", room_id, user_id, LIFTED, "leave"))

    def _is_ours(self, event: Event, made: ListBanRow) -> bool:
        if event.membership != "ban":
            return False
        if made.event_id:
            return event.event_id == made.event_id
        return event.origin_server_ts >= made.made_ts and domain_of(event.sender) == self._hand.server_name

    async def _forget(self, room_id: RoomId, user_ids: Sequence[UserId]) -> None:
        if user_ids:
            async with self._db.transaction() as tx:
                await spam_list_bans.forget(tx, room_id, user_ids)


def _compared(
    made: Sequence[ListBanRow], members: Sequence[tuple[UserId, str]], bans: Bans
) -> tuple[list[tuple[ListBanRow, bool]], list[tuple[UserId, str]]]:
    """Bans to look at, and members whom lists name, with why.

    The bans are those that no list asks for any more, then those still asked for (True) of which it wasn't written down
    which event they were.
    """
    judged = [(one, bans.match("user", one.user_id) is not None) for one in made]
    open_ones = [(one, is_named) for one, is_named in judged if not is_named or not one.event_id]
    over = sorted(open_ones, key=lambda judgement: judgement[1])
    named = [
        (user_id, why)
        for user_id, membership in members
        if membership in ("join", "invite", "knock") and (why := bans.match("user", user_id)) is not None
    ]
    return over, named


def _entry(action: Action, room_id: RoomId, user_id: UserId, why: str, membership: str) -> AuditEntry:
    after = {"room_id": room_id, "membership": membership}
    return AuditEntry(actor=BY_ITSELF, action=action, target=user_id, reason=why, after=after)
