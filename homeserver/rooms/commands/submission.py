"""The last step of every command: past the policy chain, into the room writer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from homeserver.core import canonical_json
from homeserver.core.errors import Forbidden
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.core.room_versions import RoomVersion
from homeserver.ports import PolicySignatures
from homeserver.rooms.arrivals import Fate
from homeserver.rooms.policy import PolicyChain, Shadowed
from homeserver.rooms.residents import Room
from homeserver.rooms.shadow_bans import ShadowBans
from homeserver.rooms.writer import NewAlias, RoomWriter, Transaction
from homeserver.runtime.clock import Clock


class Submission:
    """Makes drafts and sends them."""

    # For rooms whose policy server is another one; `take` writes what it signed.
    signatures: PolicySignatures | None = None
    take: Callable[[RoomId, Event], Awaitable[Fate]] | None = None

    def __init__(
        self, writer: RoomWriter, policy: PolicyChain, clock: Clock, server_name: ServerName, shadows: ShadowBans
    ) -> None:
        self._writer = writer
        self._policy = policy
        self._clock = clock
        self._created_ms = 0
        self._shadows = shadows
        self.server_name = server_name

    def is_local(self, identifier: str) -> bool:
        """Whether a user, or an alias, is of this server."""
        return domain_of(identifier) == self.server_name

    def draft(
        self,
        type: str,
        sender: UserId,
        content: dict[str, Any],
        state_key: str | None = None,
        *,
        redacts: EventId | None = None,
        timestamp_ms: int | None = None,
        sticky_ms: int | None = None,
    ) -> Draft:
        """Raises BadJson for content that no event may hold."""
        canonical_json.check_values(content)
        now = timestamp_ms if timestamp_ms is not None else self._clock.now_ms()
        return Draft(
            type=type,
            sender=sender,
            content=content,
            state_key=state_key,
            redacts=redacts,
            origin_server_ts=now,
            sticky_ms=sticky_ms,
        )

    async def send(self, room_id: RoomId, draft: Draft, transaction: Transaction | None = None) -> Event:
        """Raises as `RoomWriter.send`, and what the policy chain raises."""
        key = transaction.key if transaction is not None else None
        known = self._shadows.answer(key)
        if known is None and transaction is not None:
            known = await self._writer.answered(transaction)
        if known is not None:  # it isn't judged again, nor counted
            return known
        if await self._shadows.hides(room_id, draft):
            return await self._pretend(room_id, await self._policy.judge(room_id, draft), key)
        try:
            judged = await self._policy.judge(room_id, draft)
        except Shadowed:
            return await self._pretend(room_id, draft, key)
        if self.signatures is not None and await self.signatures.wanted(room_id):
            return await self._send_signed(room_id, judged, key, self.signatures)
        return await self._writer.send(room_id, judged, transaction)

    async def _send_signed(
        self, room_id: RoomId, draft: Draft, key: UUID | None, signatures: PolicySignatures
    ) -> Event:
        """An event that another server has to sign first: made, shown to it, and taken in as it comes back."""
        event = await signatures.signed(room_id, await self._writer.propose(room_id, draft))
        assert self.take is not None
        if await self.take(room_id, event) is not Fate.ACCEPTED:
            raise Forbidden("the room has changed meanwhile")
        self._shadows.remember(key, event)
        return event

    async def _pretend(self, room_id: RoomId, draft: Draft, key: UUID | None) -> Event:
        """The event that this draft would have become, under the same rules; the same one for a repeated request."""
        event = await self._writer.propose(room_id, draft)
        self._shadows.remember(key, event)
        return event

    async def send_all(self, room_id: RoomId, drafts: Sequence[Draft]) -> list[Event]:
        """All or none of them."""
        is_hidden = bool(drafts) and await self._shadows.hides(room_id, drafts[0])
        if is_hidden or (self.signatures is not None and await self.signatures.wanted(room_id)):
            return [await self.send(room_id, draft) for draft in drafts]
        return await self._writer.send_all(room_id, await self._policy.judge_all(room_id, drafts))

    def is_shadowed(self, user_id: UserId) -> bool:
        """Whether what this user says goes nowhere."""
        return self._shadows.is_banned(user_id)

    async def hides(self, room_id: RoomId, draft: Draft) -> bool:
        """Whether this draft goes nowhere, its sender being shadow-banned: `send` then only pretends."""
        return await self._shadows.hides(room_id, draft)

    async def check(self, hook: str, sender: UserId, content: Mapping[str, Any]) -> None:
        """Whether what isn't an event (an alias) may be. Raises MatrixError."""
        await self._policy.check(hook, sender, content=content)

    async def judge(self, room_id: RoomId, draft: Draft) -> Draft:
        """The policy chain alone, for an event that another server writes with us."""
        return await self._policy.judge(room_id, draft)

    async def create(
        self,
        version: RoomVersion,
        room_id: RoomId | None,
        drafts: Sequence[Draft],
        *,
        is_published: bool = False,
        alias: NewAlias | None = None,
    ) -> Room:
        """A new room, with its place in the directory and its alias, in one transaction."""
        judged = await self._policy.judge_all(None, drafts)
        if room_id is None:
            # The room's id is the hash of its create event: two of one creator must differ in something.
            self._created_ms = max(judged[0].origin_server_ts, self._created_ms + 1)
            judged = [replace(judged[0], origin_server_ts=self._created_ms), *judged[1:]]
        return await self._writer.create(version, room_id, judged, is_published=is_published, alias=alias)
