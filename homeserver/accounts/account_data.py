"""Account data: what a user's clients keep on the server. spec: client-server-api/#client-config"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

from homeserver.core import canonical_json
from homeserver.core.errors import InvalidParam, LimitExceeded, NotFound, TooLarge
from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.journal.journal import Journal, JournalWrite
from homeserver.storage import account_data
from homeserver.storage.database import Database, Tx

CONTENT_BYTES_MAX = 1024 * 1024
ACCOUNT_BYTES_MAX = 16 * 1024 * 1024
TYPE_BYTES_MAX = 255
ENTRIES_MAX = 20_000
TAGS = "m.tag"
_OF_DEVICES = tuple(prefix + "local_notification_settings." for prefix in ("m.", "org.matrix.msc3890."))


@dataclass(frozen=True, slots=True)
class AccountDatum:
    """One entry. `room_id` is None for data of the account; content {} means that it was deleted."""

    room_id: RoomId | None
    type: str
    content: dict[str, Any]
    position: int


class DatumProvider(Protocol):
    """Account data that another part keeps (push rules)."""

    async def as_account_data(self, user_id: UserId) -> tuple[dict[str, Any], int]:
        """The content, and the position of its newest change (0: never changed)."""
        ...


class RoomDatumProvider(Protocol):
    """Account data of rooms that another part keeps (the read marker)."""

    async def marker(self, room_id: RoomId, user_id: UserId) -> dict[str, Any] | None: ...

    async def markers(self, user_id: UserId, since: int, upto: int) -> Sequence[tuple[RoomId, dict[str, Any], int]]:
        """(room, content, position) of what changed with since < position <= upto."""
        ...

    async def markers_in(
        self, user_id: UserId, room_ids: Collection[RoomId]
    ) -> Sequence[tuple[RoomId, dict[str, Any], int]]:
        """The same of these rooms, as they are now."""
        ...


class AccountData:
    """Reads and writes account data."""

    def __init__(self, db: Database, journal: Journal) -> None:
        self._db = db
        self._journal = journal
        self._providers: dict[str, DatumProvider] = {}
        self._room_providers: dict[str, RoomDatumProvider] = {}

    def provide(self, kind: str, provider: DatumProvider) -> None:
        """Takes the content of a type from elsewhere."""
        self._providers[kind] = provider

    def provide_in_rooms(self, kind: str, provider: RoomDatumProvider) -> None:
        """The same for a type of rooms' account data."""
        self._room_providers[kind] = provider

    async def get(self, user_id: UserId, room_id: RoomId | None, kind: str) -> dict[str, Any]:
        """Raises NotFound."""
        if room_id is None and kind in self._providers:
            return (await self._providers[kind].as_account_data(user_id))[0]
        if room_id is not None and kind in self._room_providers:
            marker = await self._room_providers[kind].marker(room_id, user_id)
            if marker is None:
                raise NotFound("there is no account data of this type")
            return marker
        content = await account_data.one(self._db, user_id, room_id or "", kind)
        value: dict[str, Any] = canonical_json.decode(content) if content is not None else {}
        if not value:
            raise NotFound("there is no account data of this type")
        return value

    async def content(self, user_id: UserId, kind: str) -> dict[str, Any]:
        """An entry of the account, {} where there is none."""
        content = await account_data.one(self._db, user_id, "", kind)
        value: dict[str, Any] = canonical_json.decode(content) if content is not None else {}
        return value

    async def put(self, user_id: UserId, room_id: RoomId | None, kind: str, content: dict[str, Any]) -> None:
        """Sets an entry; `{}` deletes it. Raises TooLarge, InvalidParam, LimitExceeded."""
        await self.change(user_id, room_id, kind, lambda _: content)

    async def change(
        self,
        user_id: UserId,
        room_id: RoomId | None,
        kind: str,
        edit: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        """Replaces an entry by what `edit` makes of it; nobody else changes it meanwhile."""
        if not 0 < len(kind.encode()) <= TYPE_BYTES_MAX or "\x00" in kind:
            raise InvalidParam(f"a type must have 1 to {TYPE_BYTES_MAX} bytes")
        async with self._journal.write() as write:
            # Two of different types at once would pass the limits together.
            await account_data.lock(write.tx, user_id)
            before = await account_data.locked(write.tx, user_id, room_id or "", kind)
            content = edit(canonical_json.decode(before) if before is not None else {})
            data = orjson.dumps(content)
            if len(data) > CONTENT_BYTES_MAX:
                raise TooLarge(f"account data may have {CONTENT_BYTES_MAX} bytes")
            if before is None or len(data) > len(before):
                await self._check_room_for(write.tx, user_id, len(data) - len(before or b""), is_new=before is None)
            await account_data.upsert(write.tx, user_id, room_id or "", kind, data, write.position)
            datum = AccountDatum(room_id, kind, content, write.position)
            write.publish("account_data", user_ids=[user_id], payload=datum)

    async def devices_deleted(self, write: JournalWrite, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Deletes what clients keep about single devices: whether these are silent (MSC3890)."""
        kinds = [prefix + device_id for device_id in device_ids for prefix in _OF_DEVICES]
        for kind in await account_data.empty(write.tx, user_id, kinds, write.position):
            datum = AccountDatum(None, kind, {}, write.position)
            write.publish("account_data", user_ids=[user_id], payload=datum)

    async def _check_room_for(self, tx: Tx, user_id: UserId, more_bytes: int, *, is_new: bool) -> None:
        """Raises LimitExceeded, TooLarge: all of it goes into every first sync."""
        entries, size = await account_data.kept(tx, user_id)
        if is_new and entries >= ENTRIES_MAX:
            raise LimitExceeded("too many entries of account data", retry_after_ms=60_000)
        if size + more_bytes > ACCOUNT_BYTES_MAX:
            raise TooLarge(f"all account data of a user may have {ACCOUNT_BYTES_MAX} bytes")

    async def changes(self, user_id: UserId, since: int, upto: int) -> Sequence[AccountDatum]:
        """What changed with since < position <= upto; with since = 0 all there is."""
        rows = await account_data.changes(self._db, user_id, since, upto)
        found = [
            AccountDatum(RoomId(row.room_id) if row.room_id else None, row.type, content, row.position)
            for row in rows
            if (content := canonical_json.decode(row.content)) or since > 0
        ]
        for kind, provider in self._providers.items():
            content, position = await provider.as_account_data(user_id)
            if since == 0 or since < position <= upto:
                found.append(AccountDatum(None, kind, content, position))
        for kind, rooms in self._room_providers.items():
            markers = await rooms.markers(user_id, since, upto)
            found.extend(AccountDatum(room_id, kind, content, position) for room_id, content, position in markers)
        return found

    async def of_rooms(
        self, user_id: UserId, room_ids: Collection[RoomId], *, with_account: bool
    ) -> Sequence[AccountDatum]:
        """All there is of these rooms and, where asked for, of the account: however many other rooms there are."""
        rows = await account_data.of_rooms(self._db, user_id, [*room_ids, *([""] if with_account else [])])
        found = [
            AccountDatum(RoomId(row.room_id) if row.room_id else None, row.type, content, row.position)
            for row in rows
            if (content := canonical_json.decode(row.content))
        ]
        if with_account:
            for kind, provider in self._providers.items():
                found.append(AccountDatum(None, kind, *await provider.as_account_data(user_id)))
        for kind, rooms in self._room_providers.items():
            markers = await rooms.markers_in(user_id, room_ids)
            found.extend(AccountDatum(room_id, kind, content, position) for room_id, content, position in markers)
        return found

    async def in_rooms(self, user_id: UserId, kind: str) -> dict[RoomId, dict[str, Any]]:
        """What the user keeps under this type, by room. One query."""
        rows = await account_data.of_type(self._db, user_id, kind)
        return {RoomId(row.room_id): canonical_json.decode(row.content) for row in rows}
