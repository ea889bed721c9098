"""Whose devices a user must look at again. spec: client-server-api/#tracking-the-device-list-for-a-user"""

from __future__ import annotations

from collections.abc import Sequence

from homeserver.core.identifiers import UserId
from homeserver.journal.journal import JournalWrite
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.storage import cross_signing, device_lists, events, memberships, partial_rooms
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import UserRoom

_OUT = ("leave", "ban")
# So many changes of somebody who is out are looked at, to find how they left.
_CHANGES_MAX = 5


class DeviceLists:
    """Records changes of what users publish, and answers what changed for whom."""

    def __init__(self, db: Database, rooms: Rooms, event_store: EventStore, numbers: StateNumbers) -> None:
        self._db = db
        self._rooms = rooms
        self._events = event_store
        self._numbers = numbers

    async def record(self, write: JournalWrite, user_id: UserId) -> None:
        """Notes, in an open transaction, that a user's devices or keys changed, and tells those who share a room."""
        await device_lists.upsert(write.tx, user_id, write.position)
        # On the transaction's own connection: one that waits for a second would hold up all others.
        concerned = await memberships.users_sharing(write.tx, user_id)
        write.publish("device_list", user_ids=[user_id, *concerned], payload=user_id)

    async def changes(self, user_id: UserId, since: int, upto: int) -> tuple[set[UserId], set[UserId]]:
        """(changed, left): whose keys to fetch again, and whom to forget. A dozen queries at most."""
        rooms = await self._rooms.rooms_of(user_id)
        joined = [room for room in rooms if room.membership == "join"]
        sharing = await self._rooms.users_sharing(user_id) | {user_id}
        changed = await device_lists.changed(self._db, since, sharing)
        changed |= sharing & await cross_signing.signed_since(self._db, user_id, since)
        came, went = await self._moved(user_id, joined, since, upto)
        came |= await self._made_known(joined, since)
        went |= await self._left_behind(user_id, rooms, since)
        return changed | (came & sharing), went - sharing

    async def _moved(
        self, user_id: UserId, joined: Sequence[UserRoom], since: int, upto: int
    ) -> tuple[set[UserId], set[UserId]]:
        """Who came into, and who left, the rooms that the user is in."""
        spans = {room.room_nid: (since, upto) for room in joined}
        changes = await events.state_changes(self._db, spans) if spans else {}
        keys = await self._numbers.keys_of({number for found in changes.values() for number in found})
        moved = [
            (UserId(keys[number][1]), nid)
            for found in changes.values()
            for number, nid in found.items()
            if keys[number][0] == "m.room.member"
        ]
        nids = {nid for _, nid in moved if nid}
        stored = await self._events.by_nids(nids)
        replaced = await self._events.by_nids({entry.replaces for entry in stored.values() if entry.replaces})
        came: set[UserId] = set()
        # Of whom a resolution found that they aren't there after all.
        went = {user for user, nid in moved if not nid}
        for entry in stored.values():
            event, before = entry.event, replaced.get(entry.replaces or 0)
            target = UserId(event.state_key or "")
            if event.membership == "join":
                if before is not None and before.event.membership == "join" and before.nid <= since:
                    continue  # a change of name or picture
                came.add(target)
                if target == user_id:
                    came |= set(await self._rooms.joined_members(event.room_id))
            elif event.membership in _OUT:
                went.add(target)
        return came, went

    async def _made_known(self, joined: Sequence[UserRoom], since: int) -> set[UserId]:
        """Whose devices changed while nobody here knew that they were in a room with the user."""
        whole = await partial_rooms.whole_since(self._db, [room.room_nid for room in joined], since) if joined else {}
        found = await self._rooms.get_many([room.room_id for room in joined if room.room_nid in whole])
        changed: set[UserId] = set()
        for room in found.values():
            changed |= await device_lists.changed(self._db, whole[room.nid], set(room.joined_members()))
        return changed

    async def _left_behind(self, user_id: UserId, rooms: Sequence[UserRoom], since: int) -> set[UserId]:
        """Who was in the rooms that the user has left, when they left.

        Not who is there now; and nobody where the user was only invited, has knocked, or was gone already: that would
        tell them who is in a room that isn't theirs to see.
        """
        gone = await self._leaves({room.event_nid for room in rooms if room.membership in _OUT}, since)
        then = await self._rooms.maps({entry.state_after for entry in gone if entry.state_after is not None})
        keys = await self._numbers.keys_of({number for state in then.values() for number in state})
        nids = {nid for state in then.values() for number, nid in state.items() if keys[number][0] == "m.room.member"}
        members = (stored.event for stored in (await self._events.by_nids(nids)).values())
        return {UserId(event.state_key or "") for event in members if event.membership == "join"}

    async def _leaves(self, nids: set[int], since: int) -> list[StoredEvent]:
        """The events after `since` by which somebody who was in a room went out of it, from the newest on."""
        found: list[StoredEvent] = []
        nids = {nid for nid in nids if nid > since}
        for _ in range(_CHANGES_MAX):
            if not nids:
                break
            stored = await self._events.by_nids(nids)
            before = await self._events.by_nids({entry.replaces for entry in stored.values() if entry.replaces})
            nids = set()
            for entry in stored.values():
                replaced = before.get(entry.replaces or 0)
                if replaced is not None and replaced.event.membership == "join":
                    found.append(entry)
                elif replaced is not None and replaced.event.membership in _OUT and replaced.nid > since:
                    nids.add(replaced.nid)  # banned after they had left, say
        return found
