"""What became of an event, step by step: the same in the console and on the command line."""

from __future__ import annotations

from pathlib import Path

import orjson

from admin.trace import Trace, lines, trace
from homeserver.core.identifiers import EventId, ServerName
from homeserver.operator.trace import traced
from homeserver.runtime.clock import SystemClock
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.postgres import PostgresForTests
from tests.kit.refused_event import a_refused_event
from tests.kit.server import RunningServer, config_for_tests, running_server
from tests.kit.until import until


def said(found: Trace | None, step: str) -> list[tuple[str, str]]:
    assert found is not None
    return [(one.state, one.what) for one in found.steps if one.step == step]


async def trace_at(server: RunningServer, event_id: str) -> Trace | None:
    return await trace(server.db, ServerName(server.hansa.config.server_name), event_id)


async def test_an_event_of_ours_from_its_sender_to_its_index(postgres: PostgresForTests, tmp_path: Path) -> None:
    """The command line says what the page says, and neither what was written."""
    async with postgres.fresh() as dsn, running_server(dsn) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        event_id = await alice.send(room_id, "secret words")

        async def is_counted() -> bool:
            return said(await trace_at(server, event_id), "counted") == [("good", "unread has it")]

        await until(is_counted)
        found = await trace_at(server, event_id)
        assert found is not None
        names = [one.step for one in found.steps]
        assert names[:5] == ["received", "signed", "authorised", "rules", "persisted"]
        assert said(found, "received") == [("good", "sent here")]
        assert said(found, "signed") == [("good", "by hansa.test")]
        assert said(found, "authorised") == [("good", "accepted")]
        config = config_for_tests(tmp_path, f'[database]\ndsn = "{dsn}"\n')
        typed = await traced(config, SystemClock(), EventId(event_id))
        assert typed is not None and [one.step for one in typed.steps][:5] == names[:5]
        rows = [orjson.loads(line) for line in lines(found).splitlines()]
        assert len(rows) == len(found.steps) and {row["event_id"] for row in rows} == {event_id}
        assert "secret" not in lines(found)
        assert await trace_at(server, "$unknown") is None


async def test_a_refused_event_says_by_which_rule(postgres: PostgresForTests) -> None:
    async with postgres.fresh() as dsn, running_server(dsn) as server:
        stranger = await a_refused_event(server, await server.user("alice"))
        [(state, what)] = said(await trace_at(server, stranger.event_id), "authorised")
        assert state == "bad" and what.startswith("rejected: ") and "is not in the room" in what


async def test_another_server_acknowledges(postgres: PostgresForTests, tmp_path: Path) -> None:
    """Per destination; there, the same event is one that came from here."""
    authority = Authority(tmp_path)
    async with (
        postgres.fresh() as one,
        postgres.fresh() as two,
        federated_server(one, authority) as here,
        federated_server(two, authority) as there,
    ):
        alice, bob = await here.user("alice"), await there.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        joined = await bob.request("POST", f"/join/{room_id}", query={"via": here.hansa.config.server_name})
        joined.ok()
        event_id = await alice.send(room_id, "Good morning")
        name = there.hansa.config.server_name

        async def has_it() -> bool:
            return said(await trace_at(here, event_id), "sent") == [("good", f"{name} acknowledged it")]

        await until(has_it)

        async def is_there() -> bool:
            return await trace_at(there, event_id) is not None

        await until(is_there)
        [(_, what)] = said(await trace_at(there, event_id), "received")
        assert here.hansa.config.server_name in what
        assert not said(await trace_at(there, event_id), "sent")
