"""What else a sync tells, and who knows it. Each answers for many rooms at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from homeserver.core.filters import Filter
from homeserver.core.identifiers import DeviceId, EventId, RoomId, UserId
from homeserver.storage.events import StoredEvent


class Datum(Protocol):
    @property
    def room_id(self) -> RoomId | None: ...
    @property
    def type(self) -> str: ...
    @property
    def content(self) -> dict[str, Any]: ...
    @property
    def position(self) -> int: ...


class AccountDataSource(Protocol):
    async def changes(self, user_id: UserId, since: int, upto: int) -> Sequence[Datum]: ...

    async def content(self, user_id: UserId, kind: str) -> dict[str, Any]: ...

    async def of_rooms(
        self, user_id: UserId, room_ids: Collection[RoomId], *, with_account: bool
    ) -> Sequence[Datum]: ...

    async def in_rooms(self, user_id: UserId, kind: str) -> Mapping[RoomId, dict[str, Any]]: ...


class FilterSource(Protocol):
    async def get(self, user_id: UserId, filter_id: str) -> Filter: ...


class ReceiptSource(Protocol):
    async def changes(
        self, user_id: UserId, room_ids: Collection[RoomId], since: int, upto: int
    ) -> Mapping[RoomId, dict[str, Any]]: ...

    async def near(self, user_id: UserId, places: Mapping[RoomId, int]) -> Mapping[RoomId, dict[str, Any]]: ...

    async def rooms_read(self, user_id: UserId, since: int, upto: int) -> Sequence[RoomId]: ...


class TypingSource(Protocol):
    async def users(self, room_id: RoomId) -> list[UserId]: ...

    def changed_at(self, room_id: RoomId) -> int: ...


class PresenceSource(Protocol):
    async def changes(
        self, user_id: UserId, since: int, upto: int, newcomers: Collection[UserId] = ()
    ) -> list[dict[str, Any]]: ...

    async def seen(self, user_id: UserId, state: str, for_s: float = 0.0) -> None: ...


class Counts(Protocol):
    @property
    def notifications(self) -> int: ...
    @property
    def highlights(self) -> int: ...
    @property
    def main_notifications(self) -> int: ...
    @property
    def main_highlights(self) -> int: ...
    @property
    def threads(self) -> dict[EventId, tuple[int, int]]: ...


class UnreadSource(Protocol):
    async def counts(self, user_id: UserId, room_ids: Collection[RoomId]) -> Mapping[RoomId, Counts]: ...


class ToDeviceSource(Protocol):
    async def pending(
        self, user_id: UserId, device_id: DeviceId, since: int, upto: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]: ...

    async def acknowledge(self, user_id: UserId, device_id: DeviceId, upto: int) -> None: ...


class DeviceListSource(Protocol):
    async def changes(self, user_id: UserId, since: int, upto: int) -> tuple[set[UserId], set[UserId]]: ...


class KeyCountSource(Protocol):
    async def counts(self, user_id: UserId, device_id: DeviceId) -> tuple[dict[str, int], list[str]]: ...


class Sticking(Protocol):
    @property
    def stored(self) -> StoredEvent: ...


class StickySource(Protocol):
    def lively(self, since: int, among: Collection[RoomId]) -> list[RoomId]: ...

    async def told(
        self, room_ids: Collection[RoomId], since: int, upto: int, limit: int
    ) -> tuple[Sequence[Sticking], int]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Everything that sync asks beside the rooms."""

    account_data: AccountDataSource
    filters: FilterSource
    receipts: ReceiptSource
    typing: TypingSource
    presence: PresenceSource
    unread: UnreadSource
    to_device: ToDeviceSource
    device_lists: DeviceListSource
    one_time_keys: KeyCountSource
    sticky: StickySource
