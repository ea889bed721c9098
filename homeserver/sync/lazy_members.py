"""Lazy-loaded members: only those whom a timeline needs, and only once.

spec: client-server-api/#lazy-loading-room-members
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence

from homeserver.core.events import StateKey
from homeserver.core.filters import RoomFilter
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.residents import Rooms
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.sync.plans import Told
from homeserver.sync.summaries import has_name, heroes_of

DEVICES_MAX = 5_000
SENT_PER_DEVICE_MAX = 20_000

# Member event, and the position it was told with: until that comes back as `since`, the answer may have been lost.
Sent = dict[tuple[RoomId, UserId], tuple[int, int]]


def loads_lazily(wanted: RoomFilter) -> bool:
    return wanted.state.lazy_load_members or wanted.timeline.lazy_load_members


class LazyMembers:
    """Chooses what of a state is sent, and remembers which member events each device has."""

    def __init__(self, rooms: Rooms, numbers: StateNumbers) -> None:
        self._rooms = rooms
        self._numbers = numbers
        self._sent: OrderedDict[tuple[UserId, str], Sent] = OrderedDict()

    async def chosen(
        self,
        viewer: UserId,
        device: str,
        told: Sequence[Told],
        maps: Sequence[Mapping[int, int]],
        wanted: RoomFilter,
    ) -> list[list[int]]:
        """For each room the numbers of the state events to send."""
        if not loads_lazily(wanted):
            return [list(state.values()) for state in maps]
        needed = [self._needed(viewer, room) for room in told]
        keys: set[StateKey] = {("m.room.member", user_id) for users in needed for user_id in users}
        numbers = await self._numbers.find(keys)
        named = await self._numbers.keys_of({number for state in maps for number in state})
        full = await self._rooms.maps_of_lines([room.plan.room.line for room in told if room.events])
        sent = self._sent_to(viewer, device, told, is_kept=not wanted.state.include_redundant_members)
        chosen = [
            self._of_room(room, state, users, (numbers, named), full, sent, wanted)
            for room, state, users in zip(told, maps, needed, strict=True)
        ]
        for room, nids in zip(told, chosen, strict=True):
            if room.plan.room.partial is not None:
                nids += [nid for nid in await self._cited(room, sent) if nid not in nids]
        return chosen

    async def _cited(self, room: Told, sent: Sent) -> list[int]:
        """Of senders who are missing among the known members, what their events say that they are."""
        known = room.plan.room.members
        strangers = {stored.event.sender for stored in room.events if stored.event.sender not in known}
        if not strangers:
            return []
        names = {name for stored in room.events for name in stored.event.auth_event_ids}
        found: dict[UserId, int] = {}
        for stored in (await self._rooms.events_by_ids(names)).values():
            user_id = UserId(stored.event.state_key or "")
            if stored.event.type == "m.room.member" and user_id in strangers:
                found[user_id] = max(found.get(user_id, 0), stored.nid)
        room_id, since, upto = room.plan.room.room_id, room.plan.since, room.plan.upto
        chosen = []
        for user_id, nid in found.items():
            before, told_at = sent.get((room_id, user_id), (0, 0))
            if room.plan.is_full or before != nid or told_at > since:
                chosen.append(nid)
                sent[room_id, user_id] = nid, upto
        return chosen

    def _needed(self, viewer: UserId, room: Told) -> set[UserId]:
        users = {stored.event.sender for stored in room.events}
        users |= {
            UserId(stored.event.state_key or "") for stored in room.events if stored.event.type == "m.room.member"
        }
        if room.plan.is_full:
            users.add(viewer)
            if not has_name(room.plan.room):
                users |= set(heroes_of(room.plan.room, viewer))
        return users

    def _of_room(
        self,
        room: Told,
        state: Mapping[int, int],
        users: set[UserId],
        numbering: tuple[Mapping[StateKey, int], Mapping[int, StateKey]],
        full: Mapping[int, Mapping[int, int]],
        sent: Sent,
        wanted: RoomFilter,
    ) -> list[int]:
        numbers, named = numbering
        room_id, since, upto = room.plan.room.room_id, room.plan.since, room.plan.upto
        chosen: list[int] = []
        for number, nid in state.items():
            kind, state_key = named[number]
            if kind != "m.room.member":
                chosen.append(nid)
            elif not room.plan.is_full or state_key in users:
                # A change of membership is told as such, whoever it is about.
                chosen.append(nid)
                sent[room_id, UserId(state_key)] = nid, upto
        if room.plan.is_full:
            return chosen
        current = full.get(room.plan.room.line.nid, {})
        in_timeline = {stored.nid for stored in room.events}
        for user_id in users:
            number_of = numbers.get(("m.room.member", user_id))
            nid_of = current.get(number_of) if number_of is not None else None
            if nid_of is None or nid_of in in_timeline or nid_of in chosen:
                continue
            known, told_at = sent.get((room_id, user_id), (0, 0))
            if known != nid_of or told_at > since:
                chosen.append(nid_of)
                sent[room_id, user_id] = nid_of, upto
        return chosen

    def _sent_to(self, viewer: UserId, device: str, told: Sequence[Told], *, is_kept: bool) -> Sent:
        """What the device has, without the rooms that it is now told of from the beginning."""
        if not is_kept:
            return {}
        key = (viewer, device)
        sent = self._sent.get(key)
        if sent is None or len(sent) > SENT_PER_DEVICE_MAX:
            sent = self._sent[key] = {}
        fresh = {room.plan.room.room_id for room in told if room.plan.is_full}
        if fresh and sent:
            sent = self._sent[key] = {place: known for place, known in sent.items() if place[0] not in fresh}
        self._sent.move_to_end(key)
        if len(self._sent) > DEVICES_MAX:
            self._sent.popitem(last=False)
        return sent
