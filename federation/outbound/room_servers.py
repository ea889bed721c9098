"""Which servers are in which room, kept up with the journal so that an event costs no walk over its room's members."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Collection
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, ServerName, domain_of
from homeserver.rooms.building import Written
from homeserver.rooms.residents import Room

ROOMS_MAX = 20_000


@dataclass(slots=True)
class _Servers:
    """How many joined users each server has, once all events up to `upto` are in."""

    users: Counter[ServerName]
    upto: int


class RoomServers:
    """Memory only: a room that isn't here is counted from its members once."""

    def __init__(self) -> None:
        self._rooms: OrderedDict[RoomId, _Servers] = OrderedDict()

    def of(self, room: Room) -> set[ServerName]:
        """The servers with joined users, ours included; while members are missing, all that there may be."""
        return set(self._get(room).users).union(_presumed(room))

    def concerned(self, written: Written) -> set[ServerName]:
        """The servers that an event is for: all before it, and that of the member whom it is about."""
        servers = self._get(written.room)
        event = written.event
        found = set(servers.users).union(_presumed(written.room))
        if event.type == "m.room.member" and event.state_key is not None:
            if written.membership_before in ("join", "invite", "knock") or event.membership == "join":
                found.add(domain_of(event.state_key))
            self._count(servers, written)
        return found

    def newcomer(self, written: Written) -> ServerName | None:
        """The server that came into the room by this event, `concerned` having taken it in."""
        event = written.event
        if event.type != "m.room.member" or event.membership != "join" or written.membership_before == "join":
            return None
        server = domain_of(event.state_key or "")
        return server if self._get(written.room).users[server] == 1 else None

    def forget(self, room_id: RoomId) -> None:
        """For a room whose members changed otherwise than event by event."""
        self._rooms.pop(room_id, None)

    def _get(self, room: Room) -> _Servers:
        servers = self._rooms.get(room.room_id)
        if servers is None:
            users = Counter(domain_of(user_id) for user_id, membership in room.members.items() if membership == "join")
            servers = self._rooms[room.room_id] = _Servers(users, room.newest)
            if len(self._rooms) > ROOMS_MAX:
                self._rooms.popitem(last=False)
        self._rooms.move_to_end(room.room_id)
        return servers

    def _count(self, servers: _Servers, written: Written) -> None:
        event, place = written.event, written.stored.ordering or 0
        if place <= servers.upto or not written.stored.is_shown:
            return
        servers.upto = place
        was_in, is_in = written.membership_before == "join", event.membership == "join"
        if was_in == is_in:
            return
        server = domain_of(event.state_key or "")
        servers.users[server] += 1 if is_in else -1
        if servers.users[server] <= 0:
            del servers.users[server]


def _presumed(room: Room) -> Collection[ServerName]:
    return room.partial.servers if room.partial is not None else ()
