"""What operators are told of an event's fate."""

from __future__ import annotations

from pathlib import Path

from homeserver.core.identifiers import EventId
from homeserver.operator.events import explain
from homeserver.runtime.clock import SystemClock
from tests.kit.postgres import PostgresForTests
from tests.kit.refused_event import a_refused_event
from tests.kit.server import config_for_tests, running_server


async def test_a_refused_event_is_explained(postgres: PostgresForTests, tmp_path: Path) -> None:
    async with postgres.fresh() as dsn, running_server(dsn) as server:
        alice = await server.user("alice")
        stranger = await a_refused_event(server, alice)
        config = config_for_tests(tmp_path, f'[database]\ndsn = "{dsn}"\n')
        found = await explain(config, SystemClock(), stranger.event_id)
        assert found is not None
        assert (found.fate, found.room_id, found.room_version) == ("rejected", stranger.room_id, "11")
        assert "is not in the room" in found.reason and "rule 5" in found.reason
        assert "secret" not in repr(found)
        assert [one.what for one in found.auth_events] == [f"m.room.create by {alice.user_id}"]
        assert {one.fate for one in found.state_before} == {"accepted"}
        assert await explain(config, SystemClock(), EventId("$unknown")) is None
