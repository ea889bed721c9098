"""What is known of those who do something, and of where they do it: from memory where it can be."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from admin.spam import storage
from admin.spam.facts import LONG_AGO_S, NOWHERE, Place, Sender
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.journal.journal import Entry
from homeserver.rooms.building import Written
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage import users
from homeserver.storage.database import Database

_KNOWN_MAX = 20_000
_KNOWN_MS = 60_000
_POWER_MOST = (1 << 53) - 1


@dataclass(frozen=True, slots=True)
class _Account:
    read_ms: int
    since_ms: int
    is_admin: bool
    is_guest: bool
    past_actions: int


class Surroundings:
    """Gathers facts. Accounts are remembered for a minute."""

    def __init__(self, db: Database, rooms: Rooms, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._rooms = rooms
        self._clock = clock
        self._server_name = server_name
        self._accounts: OrderedDict[str, _Account] = OrderedDict()
        self._joined_ms: OrderedDict[tuple[str, str], int] = OrderedDict()
        self.unsaved: dict[str, int] = {}

    def hear(self, entries: Sequence[Entry]) -> None:
        """A listener of the journal: when somebody came into a room."""
        for entry in entries:
            if entry.kind != "event" or not isinstance(entry.payload, Written):
                continue
            event = entry.payload.event
            if event.type != "m.room.member" or event.membership != "join" or event.state_key is None:
                continue
            if entry.payload.membership_before != "join":
                self._joined_ms[event.room_id, event.state_key] = self._clock.now_ms()
                if len(self._joined_ms) > _KNOWN_MAX:
                    self._joined_ms.popitem(last=False)

    def is_local(self, user_id: str) -> bool:
        return domain_of(user_id) == self._server_name

    async def room(self, room_id: str) -> Room | None:
        return await self._rooms.get(RoomId(room_id)) if room_id else None

    async def rooms(self, room_ids: Collection[RoomId]) -> Mapping[RoomId, Room]:
        """Those that this server knows. A query for each kind of thing, for however many."""
        return await self._rooms.get_many(room_ids)

    async def sender(self, user_id: str, room: Room | None, invited: str | None = None) -> Sender:
        """What is known of somebody, in a room where there is one; with `invited`, how many others they share."""
        account = await self._account(user_id)
        now_ms = self._clock.now_ms()
        joined_ms = self._joined_ms.get((room.room_id, user_id)) if room is not None else None
        shared = 0
        if invited is not None:
            pair = (room.room_id if room is not None else "", user_id, invited)
            shared = (await storage.rooms_shared(self._db, [pair])).get(pair, 0)
        return Sender(
            local=self.is_local(user_id),
            age_s=max(0, now_ms - account.since_ms) // 1_000,
            power=power_of(room, user_id),
            admin=account.is_admin,
            guest=account.is_guest,
            past_actions=account.past_actions,
            joined_s=(now_ms - joined_ms) // 1_000 if joined_ms is not None else LONG_AGO_S,
            shared_rooms=shared,
        )

    def acted_on(self, user_id: str) -> None:
        """What was remembered of them is out of date."""
        self._accounts.pop(user_id, None)

    async def _account(self, user_id: str) -> _Account:
        now_ms = self._clock.now_ms()
        known = self._accounts.get(user_id)
        if known is not None and now_ms - known.read_ms < _KNOWN_MS:
            return known
        past = await storage.past_actions(self._db, user_id)
        if self.is_local(user_id):
            row = await users.by_id(self._db, UserId(user_id))
            made = (
                _Account(now_ms, row.created_ts, row.is_admin, row.is_guest, past)
                if row is not None
                else _Account(now_ms, now_ms, False, False, past)
            )
        else:
            since = await storage.first_seen(self._db, user_id)
            if since is None:
                since = self.unsaved.setdefault(user_id, now_ms)
            made = _Account(now_ms, since, False, False, past)
        self._accounts[user_id] = made
        if len(self._accounts) > _KNOWN_MAX:
            self._accounts.popitem(last=False)
        return made


def power_of(room: Room | None, user_id: str) -> int:
    """Somebody's level in a room, a creator's without bound as the largest number; 0 without a room."""
    levels = room.power_levels() if room is not None else None
    return int(min(levels.user(user_id), _POWER_MOST)) if levels is not None else 0


def place_of(room: Room | None) -> Place:
    """What is known of a room that is in memory."""
    if room is None:
        return NOWHERE
    create = room.known_state("m.room.create")
    return Place(
        members=room.joined,
        encrypted=room.known_state("m.room.encryption") is not None,
        public=room.known_text("m.room.join_rules", "join_rule") == "public",
        version=room.version.id,
        created_s=create.origin_server_ts // 1_000 if create is not None else None,
    )
