"""What isn't an event but concerns other servers: typing, receipts, presence, devices. Heard from the journal.

What passes (typing, presence) is told to who can hear it now. What lasts is kept: receipts in memory, messages to
devices and changes of devices as the database has them.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import structlog

from federation.outbound.deliveries import Deliveries
from federation.outbound.sender import Sender
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.completing import WHOLE, Whole
from homeserver.storage.receipts import Receipt

log = structlog.get_logger()

WAITING_MAX = 20_000
TYPING_ROOMS_MAX = 20_000
PRESENCE_PER_ENTRY_MAX = 100


class Typing(Protocol):
    """Implemented by ephemeral.typing."""

    async def users(self, room_id: RoomId) -> list[UserId]: ...


class Presence(Protocol):
    """Implemented by ephemeral.presence."""

    async def get(self, user_id: UserId, viewer: UserId) -> dict[str, Any]: ...


class EduFeed:
    """`hear` is quick and only notes; `run` looks up whom it concerns."""

    def __init__(
        self, sender: Sender, deliveries: Deliveries, typing: Typing, presence: Presence, server_name: ServerName
    ) -> None:
        self._sender = sender
        self._deliveries = deliveries
        self._typing = typing
        self._presence = presence
        self._server_name = server_name
        self._waiting: deque[Entry] = deque(maxlen=WAITING_MAX)
        self._come = asyncio.Event()
        self._were_typing: OrderedDict[RoomId, frozenset[UserId]] = OrderedDict()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener."""
        for entry in entries:
            if entry.kind == "outgoing_to_device":
                self._deliveries.messages_wait(self._sender.allowed(entry.payload))
            elif entry.kind == "device_list" and entry.payload is not None:
                self._devices(entry.payload, entry.position, (domain_of(user) for user in entry.user_ids))
                if self._is_ours(entry.payload):
                    self._wait_for(entry)
            elif self._concerns(entry):
                self._wait_for(entry)

    def _wait_for(self, entry: Entry) -> None:
        self._waiting.append(entry)
        self._come.set()

    async def run(self) -> None:
        """One round of a background task: waits until something is to be told, and tells it."""
        await self._come.wait()
        self._come.clear()
        while self._waiting:
            entry = self._waiting.popleft()
            try:
                await self._tell(entry)
            except Exception:
                log.exception("edu_not_told", kind=entry.kind, position=entry.position)

    def _concerns(self, entry: Entry) -> bool:
        if entry.kind == "event":
            return self._is_joining(entry.payload)
        return entry.kind in ("typing", "presence", WHOLE) or (entry.kind == "receipt" and entry.room_id is not None)

    def _is_joining(self, written: Written) -> bool:
        """Whether it brings a user of ours to servers that may not know their devices."""
        event = written.event
        return (
            event.type == "m.room.member"
            and event.membership == "join"
            and written.membership_before != "join"
            and self._is_ours(event.state_key or "")
        )

    def _is_ours(self, user_id: str) -> bool:
        return domain_of(user_id) == self._server_name

    def _devices(self, user_id: UserId, position: int, servers: Iterable[ServerName]) -> None:
        if self._is_ours(user_id):
            self._deliveries.devices_changed(self._sender.allowed(set(servers)), user_id, position)

    async def _tell(self, entry: Entry) -> None:
        if entry.kind == "presence":
            await self._tell_presence(entry)
            return
        if entry.kind == "device_list":
            # Who shares a room whose members we don't know yet isn't among those that the entry names.
            self._devices(entry.payload, entry.position, await self._sender.presumed_with(entry.payload))
            return
        if isinstance(entry.payload, Whole):
            self._tell_missed(entry.payload, entry.position)
            return
        assert entry.room_id is not None
        servers = await self._sender.servers_in(entry.room_id)
        if not servers:
            return
        if entry.kind == "event":
            self._devices(UserId(entry.payload.event.state_key or ""), entry.position, servers)
        elif entry.kind == "typing":
            await self._tell_typing(entry.room_id, servers)
        elif isinstance(entry.payload, tuple):
            for receipt in entry.payload:
                if self._is_ours(receipt.user_id):
                    key = ("receipt", receipt.room_id, receipt.user_id, receipt.thread_id)
                    self._deliveries.add_edu(servers, key, _receipt_edu(receipt), lasting=True)

    def _tell_missed(self, whole: Whole, position: int) -> None:
        """Servers that a room was shared with unknowingly have missed what our users' devices are."""
        for user_id in whole.room.joined_members():
            self._devices(user_id, position, whole.missed)

    async def _tell_typing(self, room_id: RoomId, servers: set[ServerName]) -> None:
        now = frozenset(user for user in await self._typing.users(room_id) if self._is_ours(user))
        before = self._were_typing.pop(room_id, frozenset())
        if now:
            self._were_typing[room_id] = now
            if len(self._were_typing) > TYPING_ROOMS_MAX:
                self._were_typing.popitem(last=False)
        for user_id in now ^ before:
            content = {"room_id": room_id, "user_id": user_id, "typing": user_id in now}
            edu = {"edu_type": "m.typing", "content": content}
            self._deliveries.add_edu(servers, f"typing {room_id} {user_id}", edu, lasting=False)

    async def _tell_presence(self, entry: Entry) -> None:
        changed = [user for user in entry.payload or () if self._is_ours(user)]
        for user_id in changed[:PRESENCE_PER_ENTRY_MAX]:
            servers = await self._sender.servers_with(user_id)
            if servers:
                content = {"push": [{"user_id": user_id, **await self._presence.get(user_id, user_id)}]}
                edu = {"edu_type": "m.presence", "content": content}
                self._deliveries.add_edu(servers, f"presence {user_id}", edu, lasting=False)


def _receipt_edu(receipt: Receipt) -> dict[str, Any]:
    data: dict[str, Any] = {"ts": receipt.ts}
    if receipt.thread_id:
        data["thread_id"] = receipt.thread_id
    read = {receipt.user_id: {"data": data, "event_ids": [receipt.event_id]}}
    return {"edu_type": "m.receipt", "content": {receipt.room_id: {receipt.receipt_type: read}}}
