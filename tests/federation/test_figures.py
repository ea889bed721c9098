"""What the metrics say of events that other servers send."""

from __future__ import annotations

from functools import partial

from tests.federation.test_rooms import bodies, join, name_of
from tests.kit.server import Client, RunningServer
from tests.kit.until import until


async def _has(user: Client, room_id: str, text: str) -> bool:
    return text in await bodies(user, room_id)


async def test_events_are_counted_by_fate_and_steps_are_timed(here: RunningServer, there: RunningServer) -> None:
    """By step and by fate; no server's name and no room's is in the metrics, as strangers choose those."""
    alice, bob = await here.user("alice"), await there.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await join(bob, room_id, here)
    await alice.send(room_id, "hello")
    await until(partial(_has, bob, room_id, "hello"))
    metrics = there.hansa.metrics

    async def is_counted() -> bool:
        """What is accepted is shown before it is counted."""
        steps = [metrics.value("hansa_federation_intake_seconds_count", step=step) for step in ("stage", "fate")]
        return min(*steps, metrics.value("hansa_federation_events_total", fate="accepted")) >= 1

    await until(is_counted)
    assert metrics.value("hansa_federation_servers", state="failing") == 0
    shown = metrics.render().decode()
    assert name_of(here) not in shown and room_id not in shown


async def test_a_server_that_fails_is_counted(here: RunningServer) -> None:
    alice = await here.user("alice")
    await alice.post("/join/{}?via=localhost:1", "!nowhere:localhost:1")
    assert here.hansa.metrics.value("hansa_federation_servers", state="failing") == 1
