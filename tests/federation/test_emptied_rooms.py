"""A room that everybody has left as far as one server knows, while it goes on elsewhere: who comes back comes there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import pytest

from tests.federation.test_rooms import has, join, members, name_of
from tests.kit.authority import Authority
from tests.kit.clock import FastClock
from tests.kit.federation import federated_server
from tests.kit.network import Network
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

pytestmark = pytest.mark.slow


@dataclass
class Scene:
    """Alice has left, having put Bob out while the network was torn: nobody is in the room, as her server knows it.

    Dave of Bob's server came in meanwhile, and is; nobody told him that Alice isn't.
    """

    here: RunningServer
    there: RunningServer
    alice: Client
    dave: Client
    room_id: str


@asynccontextmanager
async def servers_on(
    network: Network, postgres: PostgresForTests, authority: Authority
) -> AsyncIterator[tuple[RunningServer, RunningServer]]:
    """Two servers that hear of each other by this network alone."""
    clock = FastClock(60)
    async with (
        postgres.fresh() as one,
        postgres.fresh() as other,
        federated_server(one, authority, clock=clock, network=network) as here,
        federated_server(other, authority, clock=clock, network=network) as there,
    ):
        yield here, there


@pytest.fixture
async def scene(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[Scene]:
    network = Network(1)
    async with servers_on(network, postgres, authority) as (here, there):
        alice, bob, dave = await here.user("alice"), await there.user("bob"), await there.user("dave")
        room_id = await alice.create_room(preset="public_chat", power_level_content_override={"invite": 0})
        await join(bob, room_id, here)
        network.parted.add(frozenset((name_of(here), name_of(there))))
        await join(dave, room_id, there)
        (await alice.post("/rooms/{}/kick", room_id, body={"user_id": bob.user_id})).ok()
        (await alice.post("/rooms/{}/leave", room_id)).ok()
        room = await here.hansa.rooms.rooms.get(room_id)  # type: ignore[arg-type]
        assert room is not None and room.joined == 0
        network.heal()
        await until(partial(_are, dave, room_id, {alice.user_id, dave.user_id}), within_s=60)
        yield Scene(here, there, alice, dave, room_id)


async def _are(user: Client, room_id: str, wanted: set[str]) -> bool:
    return await members(user, room_id) == wanted


async def _are_together(scene: Scene) -> None:
    both = {scene.alice.user_id, scene.dave.user_id}
    for user in (scene.alice, scene.dave):
        await until(partial(_are, user, scene.room_id, both), within_s=60)
    await scene.alice.send(scene.room_id, "I am back")
    await until(partial(has, scene.dave, scene.room_id, {"I am back"}), within_s=60)
    await scene.dave.send(scene.room_id, "welcome")
    await until(partial(has, scene.alice, scene.room_id, {"welcome"}), within_s=60)


@pytest.mark.parametrize("is_named", [True, False])
async def test_who_comes_back_comes_where_the_room_goes_on(scene: Scene, is_named: bool) -> None:
    """Through the server that the user names; else those are asked that had users in the room."""
    via = f"?via={name_of(scene.there)}" if is_named else ""
    (await scene.alice.post("/join/{}" + via, scene.room_id)).ok()
    await _are_together(scene)


async def test_a_refusal_counts_of_who_was_named(scene: Scene) -> None:
    """The room's own rules of now, and no other room of the same name beside it."""
    carol = await scene.here.user("carol")
    (await carol.post(f"/knock/{{}}?via={name_of(scene.there)}", scene.room_id)).refused(403, "M_FORBIDDEN")
    (await carol.post("/join/{}?via=localhost:1", scene.room_id)).refused(502, "M_UNKNOWN")
    room = await scene.here.hansa.rooms.rooms.get(scene.room_id)  # type: ignore[arg-type]
    assert room is not None and room.joined == 0


@pytest.mark.parametrize("takes_it_up", [True, False])
async def test_an_invite_from_there_is_answered_there(scene: Scene, takes_it_up: bool) -> None:
    carol = await scene.here.user("carol")
    (await scene.dave.post("/rooms/{}/invite", scene.room_id, body={"user_id": carol.user_id})).ok()

    async def is_invited() -> bool:
        return scene.room_id in (await carol.sync()).get("rooms", {}).get("invite", {})

    await until(is_invited, within_s=60)
    (await carol.post("/join/{}" if takes_it_up else "/rooms/{}/leave", scene.room_id)).ok()
    wanted = "join" if takes_it_up else "leave"

    async def is_known_there() -> bool:
        path = "/rooms/{}/state/m.room.member/{}"
        return bool((await scene.dave.get(path, scene.room_id, carol.user_id)).ok()["membership"] == wanted)

    await until(is_known_there, within_s=60)
    assert not await is_invited()


async def test_a_room_that_is_empty_everywhere_is_entered_here(scene: Scene) -> None:
    """Those who were in it say that they no longer are; it goes on from where it was left, here."""
    (await scene.dave.post("/rooms/{}/leave", scene.room_id)).ok()
    (await scene.alice.post(f"/join/{{}}?via={name_of(scene.there)}", scene.room_id)).ok()
    await scene.alice.send(scene.room_id, "alone")
    assert await members(scene.alice, scene.room_id) == {scene.alice.user_id}
    (await scene.dave.post(f"/join/{{}}?via={name_of(scene.here)}", scene.room_id)).ok()
    await until(partial(has, scene.dave, scene.room_id, {"alone"}), within_s=60)


async def test_who_left_at_the_same_time_find_each_other_again(
    postgres: PostgresForTests, authority: Authority
) -> None:
    """Each side believes the other to be in, and each says that it isn't: whoever comes first goes on with the room."""
    network = Network(1)
    async with servers_on(network, postgres, authority) as (here, there):
        alice, bob = await here.user("alice"), await there.user("bob")
        room_id = await alice.create_room(preset="public_chat")
        await join(bob, room_id, here)
        network.parted.add(frozenset((name_of(here), name_of(there))))
        for user in (alice, bob):
            (await user.post("/rooms/{}/leave", room_id)).ok()
        # Nobody can say that the other side has left: it may go on.
        (await alice.post(f"/join/{{}}?via={name_of(there)}", room_id)).refused(502, "M_UNKNOWN")
        network.heal()

        async def is_in() -> bool:
            return (await alice.post(f"/join/{{}}?via={name_of(there)}", room_id)).status == 200

        await until(is_in, within_s=60)
        (await bob.post(f"/join/{{}}?via={name_of(here)}", room_id)).ok()
        await _are_together(Scene(here, there, alice, bob, room_id))
