"""What operators are told of an event's fate."""

from __future__ import annotations

from pathlib import Path

from homeserver.core.identifiers import EventId
from homeserver.operator.events import explain
from homeserver.rooms.arrivals import Arrival, Fate
from homeserver.runtime.clock import SystemClock
from tests.kit.dag import make_event
from tests.kit.postgres import PostgresForTests
from tests.kit.server import config_for_tests, running_server


async def test_a_refused_event_is_explained(postgres: PostgresForTests, tmp_path: Path) -> None:
    async with postgres.fresh() as dsn, running_server(dsn) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room(room_version="11")
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
        config = config_for_tests(tmp_path, f'[database]\ndsn = "{dsn}"\n')
        found = await explain(config, SystemClock(), stranger.event_id)
        assert found is not None
        assert (found.fate, found.room_id, found.room_version) == ("rejected", room_id, "11")
        assert "is not in the room" in found.reason and "rule 5" in found.reason
        assert "secret" not in repr(found)
        assert [one.what for one in found.auth_events] == [f"m.room.create by {alice.user_id}"]
        assert {one.fate for one in found.state_before} == {"accepted"}
        assert await explain(config, SystemClock(), EventId("$unknown")) is None
