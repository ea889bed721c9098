"""A room shared with a real Synapse: each side does what users do, the other sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from tests.federation.test_rooms import are, bodies, has, join_through, members
from tests.kit.authority import Authority
from tests.kit.server import Client, RunningServer
from tests.kit.synapse import SynapseServer, running_synapse
from tests.kit.until import until

pytestmark = [pytest.mark.peer, pytest.mark.slow]
VERSIONS = ("6", "9", "10", "11", "12")


@pytest.fixture
async def synapse(authority: Authority, tmp_path: Path) -> AsyncIterator[SynapseServer]:
    async with running_synapse(tmp_path / "synapse", authority) as server:
        yield server


async def state_of(user: Client, room_id: str) -> dict[tuple[str, str], str]:
    found = (await user.get("/rooms/{}/state", room_id)).ok()
    return {(event["type"], event["state_key"]): event["event_id"] for event in found}


async def same_state(one: Client, other: Client, room_id: str) -> bool:
    return await state_of(one, room_id) == await state_of(other, room_id)


async def membership(user: Client, room_id: str, of: Client) -> str | None:
    answer = await user.get("/rooms/{}/state/m.room.member/{}", room_id, of.user_id)
    return answer.json.get("membership") if answer.status == 200 else None


async def is_membership(user: Client, room_id: str, of: Client, wanted: str) -> bool:
    return await membership(user, room_id, of) == wanted


async def test_rooms_of_both(here: RunningServer, synapse: SynapseServer) -> None:
    """All room versions, rooms made on either side: joined, talked in, changed, until both agree on the state."""
    alice, bob = await here.user("alice"), await synapse.user("bob")
    ours = here.hansa.config.server_name
    for version in VERSIONS:
        for maker, comer, name in ((alice, bob, ours), (bob, alice, synapse.name)):
            body = {"preset": "public_chat", "room_version": version, "name": "Town"}
            room_id = await maker.create_room(**body, power_level_content_override={"state_default": 0})
            await maker.send(room_id, "before")
            await join_through(comer, room_id, name)
            assert await members(comer, room_id) == {alice.user_id, bob.user_id}
            await maker.send(room_id, "from the maker")
            await comer.send(room_id, "from who came")
            for user in (maker, comer):
                await until(partial(has, user, room_id, {"before", "from the maker", "from who came"}))
            await asyncio.gather(
                alice.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "of alice"}),
                bob.put("/rooms/{}/state/m.room.topic", room_id, body={"topic": "of bob"}),
            )
            await alice.send(room_id, "a last word")
            await bob.send(room_id, "another")
            for user in (alice, bob):
                await until(partial(has, user, room_id, {"a last word", "another"}))
            await until(partial(same_state, alice, bob, room_id))


async def test_comings_and_goings(here: RunningServer, synapse: SynapseServer) -> None:
    """Invites both ways, declined and taken; kicks, bans, knocks, leaving and coming back."""
    alice, bob = await here.user("alice"), await synapse.user("bob")
    for host, guest in ((alice, bob), (bob, alice)):
        room_id = await host.create_room(preset="private_chat", name="Parlour", room_version="10")
        (await host.post("/rooms/{}/invite", room_id, body={"user_id": guest.user_id})).ok()
        await until(partial(is_invited, guest, room_id))
        (await guest.post("/rooms/{}/leave", room_id)).ok()
        await until(partial(is_membership, host, room_id, guest, "leave"))
        (await host.post("/rooms/{}/invite", room_id, body={"user_id": guest.user_id})).ok()
        await until(partial(is_invited, guest, room_id))
        (await guest.post("/join/{}", room_id)).ok()
        await until(partial(are, host, room_id, {alice.user_id, bob.user_id}))
        (await host.post("/rooms/{}/kick", room_id, body={"user_id": guest.user_id})).ok()
        await until(partial(is_left, guest, room_id))
        (await host.post("/rooms/{}/invite", room_id, body={"user_id": guest.user_id})).ok()
        await until(partial(is_invited, guest, room_id))
        (await guest.post("/join/{}", room_id)).ok()
        (await host.post("/rooms/{}/ban", room_id, body={"user_id": guest.user_id})).ok()
        await until(partial(is_left, guest, room_id))
        name = host.user_id.partition(":")[2]
        assert (await guest.post(f"/join/{{}}?via={name}&server_name={name}", room_id)).status == 403
        (await host.post("/rooms/{}/unban", room_id, body={"user_id": guest.user_id})).ok()
        rule = {"join_rule": "knock"}
        (await host.put("/rooms/{}/state/m.room.join_rules", room_id, body=rule)).ok()
        (await guest.post(f"/knock/{{}}?via={name}&server_name={name}", room_id)).ok()
        await until(partial(is_membership, host, room_id, guest, "knock"))


async def test_restricted_joins(here: RunningServer, synapse: SynapseServer) -> None:
    alice, bob = await here.user("alice"), await synapse.user("bob")
    for host, guest in ((alice, bob), (bob, alice)):
        name = host.user_id.partition(":")[2]
        club = await host.create_room(preset="public_chat", room_version="10")
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
        room_id = await host.create_room(
            preset="private_chat", room_version="10", initial_state=[{"type": "m.room.join_rules", "content": rule}]
        )
        assert (await guest.post(f"/join/{{}}?via={name}&server_name={name}", room_id)).status == 403
        await join_through(guest, club, name)
        await join_through(guest, room_id, name)
        assert await members(guest, room_id) == {alice.user_id, bob.user_id}
        await guest.send(room_id, "let in")
        await until(partial(has, host, room_id, {"let in"}))


async def test_what_was_said_before_and_while_away(here: RunningServer, synapse: SynapseServer) -> None:
    """The past of a room is read through the other server, in both directions."""
    alice, bob = await here.user("alice"), await synapse.user("bob")
    for host, guest in ((alice, bob), (bob, alice)):
        room_id = await host.create_room(preset="public_chat", room_version="11")
        for number in range(12):
            await host.send(room_id, str(number))
        await join_through(guest, room_id, host.user_id.partition(":")[2])
        assert await bodies(guest, room_id) == [str(number) for number in range(12)]


async def test_redactions_reach_the_other_side(here: RunningServer, synapse: SynapseServer) -> None:
    alice, bob = await here.user("alice"), await synapse.user("bob")
    for version in ("10", "11"):
        room_id = await alice.create_room(preset="public_chat", room_version=version)
        await join_through(bob, room_id, here.hansa.config.server_name)
        for writer, reader in ((alice, bob), (bob, alice)):
            event_id = await writer.send(room_id, f"regretted by {writer.user_id}")
            await until(partial(has, reader, room_id, {f"regretted by {writer.user_id}"}))
            (await writer.put("/rooms/{}/redact/{}/{}", room_id, event_id, f"r{version}")).ok()
            await until(partial(is_redacted, reader, room_id, event_id))


async def is_redacted(user: Client, room_id: str, event_id: str) -> bool:
    found = (await user.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    return "body" not in found["content"]


async def is_invited(user: Client, room_id: str) -> bool:
    return room_id in (await user.sync()).get("rooms", {}).get("invite", {})


async def is_left(user: Client, room_id: str) -> bool:
    return room_id not in (await user.get("/joined_rooms")).ok()["joined_rooms"]
