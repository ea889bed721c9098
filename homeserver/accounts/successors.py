"""What users set for a room, taken over for the room that replaces it: push rules and tags.

Whoever of this server joins a room that names a predecessor gets copies, once; what they set for the new room already
stays. spec: client-server-api/#room-upgrades

Cost: one look at a room's create event for each join; two transactions where it names a predecessor.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from homeserver.accounts.account_data import TAGS, AccountData
from homeserver.core.auth_rules import CREATE
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of, is_room_id
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written

log = structlog.get_logger()

# Joins that wait to be looked after; the oldest give way, as their users can set everything themselves.
WAITING_MAX = 10_000


class RoomRules(Protocol):
    """Push rules of users. Implemented by push.rulesets."""

    async def copy_room_rules(self, user_id: UserId, old: RoomId, new: RoomId) -> None: ...


class RoomSuccessors:
    """Takes settings over. Give it the journal's entries by `hear`."""

    def __init__(self, rules: RoomRules, account_data: AccountData, server_name: ServerName) -> None:
        self._rules = rules
        self._account_data = account_data
        self._server_name = server_name
        self._waiting: asyncio.Queue[tuple[UserId, RoomId, RoomId]] = asyncio.Queue(WAITING_MAX)

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: notes who joined the successor of a room."""
        for entry in entries:
            if isinstance(entry.payload, Written):
                self._hear_event(entry.payload)

    def _hear_event(self, written: Written) -> None:
        event = written.event
        if event.type != "m.room.member" or event.membership != "join" or written.membership_before == "join":
            return
        user_id = UserId(event.state_key or "")
        create = written.room.known_state(*CREATE)
        predecessor = create.content.get("predecessor") if create is not None else None
        old = predecessor.get("room_id") if isinstance(predecessor, dict) else None
        if not is_room_id(old) or old == event.room_id or domain_of(user_id) != self._server_name:
            return
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait((user_id, RoomId(str(old)), event.room_id))

    async def run(self) -> None:
        """One round of a background task: waits for a join, and copies what its user had set."""
        user_id, old, new = await self._waiting.get()
        try:
            await self._rules.copy_room_rules(user_id, old, new)
            await self._copy_tags(user_id, old, new)
        except MatrixError as refusal:
            log.info("room_settings_not_copied", error=refusal.code)

    async def _copy_tags(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        try:
            tags = await self._account_data.get(user_id, old, TAGS)
        except NotFound:
            return

        def unless_set(before: dict[str, Any]) -> dict[str, Any]:
            return before or tags

        await self._account_data.change(user_id, new, TAGS, unless_set)
