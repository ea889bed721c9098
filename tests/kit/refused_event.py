"""An event of another server that the room's rules refuse."""

from __future__ import annotations

from homeserver.core.events import Event
from homeserver.rooms.arrivals import Arrival, Fate
from tests.kit.dag import make_event
from tests.kit.server import Client, RunningServer


async def a_refused_event(server: RunningServer, owner: Client) -> Event:
    """The topic that somebody wanted to set who isn't in the room: it came here, and was rejected."""
    room_id = await owner.create_room(room_version="11")
    parts = server.hansa.rooms
    room = await parts.rooms.get(room_id)  # type: ignore[arg-type]
    assert room is not None
    create = room.known_state("m.room.create")
    assert create is not None
    stranger = make_event(
        room.version,
        type="m.room.topic",
        sender="@eve:away.test",
        content={"topic": "secret"},
        state_key="",
        room_id=room_id,
        prev=[room.head.heads[0].event_id],
        auth=[create.event_id],
    )
    assert await parts.incoming.take(room.room_id, [Arrival(event=stranger)]) == [Fate.REJECTED]
    return stranger
