"""What people do in a room shared with a real Synapse, beside talking and coming in: each thing in both directions.

Each scene has rooms of its own; they share the servers, as a Synapse takes longest to start.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.api.test_media import download, picture, upload
from tests.federation.test_rooms import bodies, has, join_through, members
from tests.federation.test_synapse import is_invited, is_membership
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.synapse import SynapseServer, running_synapse
from tests.kit.until import until

pytestmark = [pytest.mark.peer, pytest.mark.slow]
V1 = "/_matrix/client/v1"
LEVELS = "/rooms/{}/state/m.room.power_levels/"
TOML = "[rooms]\npublic_list_over_federation = true\n"


@dataclass(frozen=True)
class Pair:
    """Alice is a user of ours, Bob one of Synapse's."""

    alice: Client
    bob: Client

    def ways(self) -> Iterator[tuple[Client, Client]]:
        yield self.alice, self.bob
        yield self.bob, self.alice

    async def shared_room(self, host: Client, **body: Any) -> str:
        """A public room of the host's that both are in."""
        guest = self.bob if host is self.alice else self.alice
        room_id = await host.create_room(**{"preset": "public_chat", **body})
        await join_through(guest, room_id, server_of(host))
        return room_id


def server_of(user: Client) -> str:
    return user.user_id.partition(":")[2]


@pytest.fixture
async def synapse(authority: Authority, tmp_path: Path) -> AsyncIterator[SynapseServer]:
    async with running_synapse(tmp_path / "synapse", authority) as server:
        yield server


@pytest.fixture
async def here(postgres: PostgresForTests, authority: Authority) -> AsyncIterator[RunningServer]:
    async with postgres.fresh() as dsn, federated_server(dsn, authority, toml=TOML) as server:
        yield server


@pytest.fixture
async def pair(here: RunningServer, synapse: SynapseServer) -> Pair:
    return Pair(await here.user("alice"), await synapse.user("bob"))


async def room_of(user: Client, room_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await user.sync()).get("rooms", {}).get("join", {}).get(room_id, {})
    return found


async def ephemeral(user: Client, room_id: str, kind: str) -> list[Any]:
    events = (await room_of(user, room_id)).get("ephemeral", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == kind]


async def state(user: Client, room_id: str, kind: str, key: str = "") -> Any:
    answer = await user.get("/rooms/{}/state/{}/{}", room_id, kind, key)
    return answer.json if answer.status == 200 else None


async def is_state(user: Client, room_id: str, kind: str, wanted: Any) -> bool:
    found = await state(user, room_id, kind)
    return found is not None and all(found.get(key) == value for key, value in wanted.items())


async def related(user: Client, room_id: str, event_id: str, kind: str) -> list[Any]:
    path = V1 + "/rooms/{}/relations/{}/{}"
    answer = await user.get(path, room_id, event_id, kind)
    return [event["content"] for event in answer.json["chunk"]] if answer.status == 200 else []


async def has_related(user: Client, room_id: str, event_id: str, kind: str) -> bool:
    return bool(await related(user, room_id, event_id, kind))


async def edits_and_reactions(pair: Pair) -> None:
    room_id = await pair.shared_room(pair.alice)
    for writer, reader in pair.ways():
        event_id = await writer.send(room_id, f"frist of {writer.user_id}")
        await until(partial(has, reader, room_id, {f"frist of {writer.user_id}"}))
        new = {"msgtype": "m.text", "body": "first"}
        edit = {"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": event_id}}
        await writer.send(room_id, "* first", **edit)
        reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "👍"}}
        (await reader.put("/rooms/{}/send/m.reaction/{}", room_id, f"r{reader.user_id}", body=reaction)).ok()
        for user in (writer, reader):
            await until(partial(has_related, user, room_id, event_id, "m.replace"))
            await until(partial(has_related, user, room_id, event_id, "m.annotation"))
            shown = (await user.get("/rooms/{}/event/{}", room_id, event_id)).ok()
            assert shown["unsigned"]["m.relations"]["m.replace"]["content"]["m.new_content"]["body"] == "first"
        assert (await related(writer, room_id, event_id, "m.annotation"))[0]["m.relates_to"]["key"] == "👍"


async def typing_receipts_and_presence(pair: Pair) -> None:
    room_id = await pair.shared_room(pair.bob)
    for who, other in pair.ways():
        event_id = await other.send(room_id, f"read this, {who.user_id}")
        await until(partial(has, who, room_id, {f"read this, {who.user_id}"}))
        typing = {"typing": True, "timeout": 60_000}
        (await who.put("/rooms/{}/typing/{}", room_id, who.user_id, body=typing)).ok()

        async def is_typing(who: Client = who, other: Client = other) -> bool:
            told = await ephemeral(other, room_id, "m.typing")
            return any(who.user_id in content["user_ids"] for content in told)

        await until(is_typing)
        (await who.put("/rooms/{}/typing/{}", room_id, who.user_id, body={"typing": False})).ok()
        thread = {"thread_id": "main"}
        (await who.post("/rooms/{}/receipt/m.read/{}", room_id, event_id, body=thread)).ok()

        async def is_read(who: Client = who, other: Client = other, event_id: str = event_id) -> bool:
            told = await ephemeral(other, room_id, "m.receipt")
            found = [content.get(event_id, {}).get("m.read", {}).get(who.user_id) for content in told]
            return any(receipt and receipt.get("thread_id") == "main" for receipt in found)

        await until(is_read)

        async def is_not_typing(who: Client = who, other: Client = other) -> bool:
            told = await ephemeral(other, room_id, "m.typing")
            return not any(who.user_id in content["user_ids"] for content in told)

        await until(is_not_typing)
        status = {"presence": "online", "status_msg": f"word of {who.user_id}"}
        (await who.put("/presence/{}/status", who.user_id, body=status)).ok()

        async def is_present(who: Client = who, other: Client = other) -> bool:
            answer = await other.get("/presence/{}/status", who.user_id)
            said = answer.json if answer.status == 200 else {}
            return said.get("status_msg") == f"word of {who.user_id}" and said.get("presence") == "online"

        await until(is_present)


async def power_is_given_and_used(pair: Pair) -> None:
    for host, guest in pair.ways():
        room_id = await pair.shared_room(host, room_version="11")
        topic = {"topic": "of the guest"}
        assert (await guest.put("/rooms/{}/state/m.room.topic/", room_id, body=topic)).status == 403
        levels = (await host.get(LEVELS, room_id)).ok()
        levels["users"][guest.user_id] = 60
        (await host.put(LEVELS, room_id, body=levels)).ok()
        await until(partial(is_state, guest, room_id, "m.room.power_levels", {"users": levels["users"]}))
        (await guest.put("/rooms/{}/state/m.room.topic/", room_id, body=topic)).ok()
        await until(partial(is_state, host, room_id, "m.room.topic", topic))
        del levels["users"][guest.user_id]
        (await host.put(LEVELS, room_id, body=levels)).ok()
        await until(partial(is_state, guest, room_id, "m.room.power_levels", {"users": levels["users"]}))
        assert (await guest.put("/rooms/{}/state/m.room.topic/", room_id, body={"topic": "x"})).status == 403


async def aliases_profiles_and_public_rooms(pair: Pair) -> None:
    """A room is found in the other's list, entered by its alias, and who is in there has a name and a picture."""
    for host, guest in pair.ways():
        name = f"Market of {host.user_id}"
        room_id = await host.create_room(
            preset="public_chat", visibility="public", name=name, room_alias_name="market", topic="salt"
        )

        async def is_listed(host: Client = host, guest: Client = guest, wanted: Any = (room_id, name, "salt")) -> bool:
            found = (await guest.get("/publicRooms", server=server_of(host))).ok()["chunk"]
            return [(room["room_id"], room.get("name"), room.get("topic")) for room in found] == [wanted]

        await until(is_listed)  # Synapse lists rooms a moment later
        body = {"filter": {"generic_search_term": "nothing such"}}
        searched = await guest.request("POST", "/publicRooms", body=body, query={"server": server_of(host)})
        assert searched.ok()["chunk"] == []
        alias = f"#market:{server_of(host)}"
        assert (await guest.get("/directory/room/{}", alias)).ok()["room_id"] == room_id
        assert await guest.join(alias) == room_id
        assert await members(guest, room_id) == {host.user_id, guest.user_id}
        (await host.put("/profile/{}/displayname", host.user_id, body={"displayname": f"Name of {name}"})).ok()
        assert (await guest.get("/profile/{}", host.user_id)).ok()["displayname"] == f"Name of {name}"

        async def is_renamed(
            host: Client = host, guest: Client = guest, room_id: str = room_id, name: str = name
        ) -> bool:
            member = await state(guest, room_id, "m.room.member", host.user_id)
            return bool(member["displayname"] == f"Name of {name}")

        await until(is_renamed)


async def a_room_is_upgraded(pair: Pair) -> None:
    """Both follow: the new room names the old one, and whoever was in the old one can enter by its join rule."""
    for host, guest in pair.ways():
        old = await pair.shared_room(host, room_version="9", name="Town")
        path = "/rooms/{}/upgrade"
        new = (await host.post(path, old, body={"new_version": "12"})).ok()["replacement_room"]
        await until(partial(is_state, guest, old, "m.room.tombstone", {"replacement_room": new}))
        await join_through(guest, new, server_of(host))
        create = await state(guest, new, "m.room.create")
        assert (create["room_version"], create["predecessor"]["room_id"]) == ("12", old)
        assert (await state(guest, new, "m.room.name"))["name"] == "Town"
        await guest.send(new, "moved")
        await until(partial(has, host, new, {"moved"}))


async def spaces_are_walked(pair: Pair) -> None:
    for host, guest in pair.ways():
        space = await host.create_room(preset="public_chat", creation_content={"type": "m.space"}, name="Quarter")
        shop = await host.create_room(preset="public_chat", name="Shop")
        cellar = await host.create_room(preset="private_chat", name="Cellar")
        for child in (shop, cellar):
            body = {"via": [server_of(host)]}
            (await host.put("/rooms/{}/state/m.space.child/{}", space, child, body=body)).ok()
        await join_through(guest, space, server_of(host))
        found = (await guest.get(V1 + "/rooms/{}/hierarchy", space)).ok()["rooms"]
        assert [room.get("name") for room in found] == ["Quarter", "Shop"]


async def files_are_fetched(pair: Pair) -> None:
    data = picture(64, 48)
    for owner, other in pair.ways():
        place = await upload(owner, data, "image/png", filename="map.png")
        found = await download(other, *place)
        assert (found.status, found.body) == (200, data)
        small = await other.get(V1 + f"/media/thumbnail/{place[0]}/{place[1]}", width=32, height=32, method="crop")
        assert small.status == 200 and small.headers["Content-Type"].startswith("image/")


async def knocks_are_taken_and_invites_reach_who_knocked(pair: Pair) -> None:
    """Also where those in another room may come in without asking (knock_restricted)."""
    for host, guest in pair.ways():
        name = server_of(host)
        club = await pair.shared_room(host, room_version="10")
        rule = {"join_rule": "knock_restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
        initial = [{"type": "m.room.join_rules", "content": rule}]
        room_id = await host.create_room(preset="private_chat", room_version="10", initial_state=initial)
        await join_through(guest, room_id, name)
        (await guest.post("/rooms/{}/leave", room_id)).ok()
        await until(partial(is_membership, host, room_id, guest, "leave"))
        (await guest.post("/rooms/{}/leave", club)).ok()
        await until(partial(is_membership, host, club, guest, "leave"))
        assert (await guest.post(f"/join/{{}}?via={name}&server_name={name}", room_id)).status == 403
        (await guest.post(f"/knock/{{}}?via={name}&server_name={name}", room_id, body={"reason": "let me in"})).ok()
        await until(partial(is_membership, host, room_id, guest, "knock"))
        assert (await state(host, room_id, "m.room.member", guest.user_id))["reason"] == "let me in"
        (await host.post("/rooms/{}/invite", room_id, body={"user_id": guest.user_id})).ok()
        await until(partial(is_invited, guest, room_id))
        (await guest.post("/join/{}", room_id)).ok()
        await guest.send(room_id, "thanks")
        await until(partial(has, host, room_id, {"thanks"}))


async def test_who_was_down_catches_up(postgres: PostgresForTests, authority: Authority, tmp_path: Path) -> None:
    """Each side is stopped while the other talks and changes the room; then both have the same, in both orders."""
    ports, port = (free_port(), free_port()), free_port()
    peer = partial(running_synapse, tmp_path / "synapse", authority, ports=ports)
    async with postgres.fresh() as dsn:
        ours = partial(federated_server, dsn, authority, port=port)
        async with peer() as synapse, ours() as here:
            pair = Pair(await here.user("alice"), await synapse.user("bob"))
            room_id = await pair.shared_room(pair.alice)
            await pair.bob.send(room_id, "both are here")
            await until(partial(has, pair.alice, room_id, {"both are here"}))
            alice, bob = pair.alice, pair.bob
        async with ours() as here:
            alice = await here.login("alice")
            for number in range(5):
                await alice.send(room_id, f"alone here {number}")
            (await alice.put("/rooms/{}/state/m.room.topic/", room_id, body={"topic": "alone"})).ok()
            async with peer() as synapse:
                # That it is back we hear from itself.
                bob = synapse.again(bob)
                await bob.send(room_id, "back again")
                wanted = {f"alone here {number}" for number in range(5)}
                await until(partial(has, bob, room_id, wanted), within_s=90)
                await until(partial(is_state, bob, room_id, "m.room.topic", {"topic": "alone"}), within_s=90)
                await until(partial(has, alice, room_id, {"back again"}), within_s=90)
        async with peer() as synapse:
            bob = synapse.again(bob)
            for number in range(5):
                await bob.send(room_id, f"alone there {number}")
            async with ours() as here:
                alice = await here.login("alice")
                await alice.send(room_id, "I was away")
                wanted = {f"alone there {number}" for number in range(5)}
                await until(partial(has, alice, room_id, wanted), within_s=90)
                await until(partial(has, bob, room_id, {"I was away"}), within_s=90)
                assert [text for text in await bodies(alice, room_id) if text.startswith("alone there")] == [
                    f"alone there {number}" for number in range(5)
                ]


async def a_room_that_everybody_left_is_entered_again(pair: Pair) -> None:
    """Nobody of ours is in it any more; then somebody comes back, and sees what was said meanwhile."""
    for host, guest in pair.ways():
        room_id = await pair.shared_room(host)
        await guest.send(room_id, "before I go")
        await until(partial(has, host, room_id, {"before I go"}))
        (await guest.post("/rooms/{}/leave", room_id)).ok()
        await until(partial(is_membership, host, room_id, guest, "leave"))
        await host.send(room_id, "meanwhile")
        await join_through(guest, room_id, server_of(host))
        await guest.send(room_id, "back")
        await until(partial(has, host, room_id, {"back"}))
        assert await bodies(guest, room_id) == ["before I go", "meanwhile", "back"]


async def test_what_is_said_and_done(pair: Pair) -> None:
    for scene in (edits_and_reactions, typing_receipts_and_presence, power_is_given_and_used, files_are_fetched):
        await scene(pair)


async def test_ways_into_rooms(pair: Pair) -> None:
    for scene in (
        aliases_profiles_and_public_rooms,
        a_room_is_upgraded,
        spaces_are_walked,
        knocks_are_taken_and_invites_reach_who_knocked,
        a_room_that_everybody_left_is_entered_again,
    ):
        await scene(pair)
