"""What an application service may do, as whom, and what others may not."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from homeserver.appservices.registration import BadRegistration, parse_registration, read_registration
from homeserver.config import Appservices
from homeserver.core.identifiers import ServerName
from homeserver.operator.bridges import bridge_findings
from tests.appservices.conftest import World, bridge_client, ghost
from tests.kit.bridge import AS_TOKEN
from tests.kit.server import config_for_tests

APPSERVICE = "m.login.application_service"


async def test_it_acts_as_its_users_with_the_token_in_header_or_query(world: World) -> None:
    """T-J8: and as nobody else."""
    async with world.running() as server:
        alice = await server.user("alice")
        user_id = await ghost(server, "_irc_bob")
        client = bridge_client(server)
        assert (await client.get("/account/whoami")).ok()["user_id"] == "@_irc_bot:hansa.test"
        assert (await client.get("/account/whoami", user_id=user_id)).ok()["user_id"] == user_id
        (await client.get("/account/whoami", user_id=alice.user_id)).refused(403, "M_FORBIDDEN")
        (await client.get("/account/whoami", user_id="@_irc_nobody:hansa.test")).refused(403, "M_FORBIDDEN")
        (await client.get("/account/whoami", user_id="@_irc_bob:elsewhere.test")).refused(403, "M_FORBIDDEN")
        plain = server.anonymous()
        assert (await plain.get("/account/whoami", access_token=AS_TOKEN, user_id=user_id)).ok()["user_id"] == user_id
        (await plain.get("/account/whoami", access_token=AS_TOKEN + "x")).refused(401, "M_UNKNOWN_TOKEN")


async def test_it_acts_with_a_device(world: World) -> None:
    async with world.running() as server:
        user_id = await ghost(server, "_irc_bob", inhibit_login=False, device_id="DEVICE")
        client = bridge_client(server)
        known = (await client.get("/account/whoami", user_id=user_id, device_id="DEVICE")).ok()
        assert known["device_id"] == "DEVICE"
        (await client.get("/account/whoami", user_id=user_id, device_id="OTHER")).refused(400, "M_UNKNOWN_DEVICE")


async def test_registration_and_log_in(world: World) -> None:
    async with world.running() as server:
        client, nobody = bridge_client(server), server.anonymous()
        body = {"type": APPSERVICE, "username": "_irc_bob"}
        (await nobody.post("/register", body=body)).refused(401, "M_MISSING_TOKEN")
        nobody.token = "wrong"
        (await nobody.post("/register", body=body)).refused(401, "M_UNKNOWN_TOKEN")
        assert (await client.post("/register", body=body)).ok()["access_token"]
        (await client.post("/register", body=body)).refused(400, "M_USER_IN_USE")
        (await client.post("/register", body={**body, "username": "alice"})).refused(400, "M_EXCLUSIVE")
        login = {"type": APPSERVICE, "identifier": {"type": "m.id.user", "user": "_irc_bob"}}
        assert (await client.post("/login", body=login)).ok()["user_id"] == "@_irc_bob:hansa.test"
        login["identifier"] = {"type": "m.id.user", "user": "alice"}
        (await client.post("/login", body=login)).refused(400, "M_EXCLUSIVE")
        assert {"type": APPSERVICE} in (await server.anonymous().get("/login")).ok()["flows"]


async def test_others_make_nothing_in_its_namespaces(world: World) -> None:
    """T-I14."""
    world.files.append(
        world.bridge.register(
            world.folder,
            "x",
            namespaces={
                "users": [{"exclusive": True, "regex": "@x-.*"}],
                "aliases": [{"exclusive": False, "regex": "#_shared_.*"}],
            },
        )
    )
    async with world.running() as server:
        alice = await server.user("alice")
        body = {"username": "x-rated", "password": "correct horse battery", "auth": {"type": "m.login.dummy"}}
        (await server.anonymous().post("/register", body=body)).refused(400, "M_EXCLUSIVE")
        (await server.anonymous().get("/register/available", username="x-rated")).refused(400, "M_EXCLUSIVE")
        room_id = await alice.create_room()
        mine = "/directory/room/%23_irc_room%3Ahansa.test"
        (await alice.put(mine, body={"room_id": room_id})).refused(400, "M_EXCLUSIVE")
        (await alice.post("/createRoom", body={"room_alias_name": "_irc_room"})).refused(400, "M_EXCLUSIVE")
        (await alice.put("/directory/room/%23_shared_room%3Ahansa.test", body={"room_id": room_id})).ok()
        bridged = (await bridge_client(server).post("/createRoom", body={"room_alias_name": "_irc_room"})).ok()
        assert (await alice.get(mine)).ok()["room_id"] == bridged["room_id"]
        other = bridge_client(server, f"{AS_TOKEN}-x")
        (await other.delete(mine)).refused(403, "M_FORBIDDEN")
        (await bridge_client(server).delete(mine)).ok()


async def test_timestamps_are_its_to_choose(world: World) -> None:
    """T-H10: and nobody else's."""
    async with world.running() as server:
        alice, client = await server.user("alice"), bridge_client(server)
        room_id = await client.create_room(preset="public_chat")
        await alice.join(room_id)
        path = f"/rooms/{room_id}/send/m.room.message/t?ts=1234"
        sent = (await client.put(path, body={"msgtype": "m.text", "body": "then"})).ok()["event_id"]
        event = (await alice.get("/rooms/{}/event/{}", room_id, sent)).ok()
        assert event["origin_server_ts"] == 1234
        member = f"/rooms/{room_id}/state/m.room.member/@_irc_bot:hansa.test?ts=99"
        joined = (await client.put(member, body={"membership": "join", "displayname": "Bot"})).ok()["event_id"]
        assert (await alice.get("/rooms/{}/event/{}", room_id, joined)).ok()["origin_server_ts"] == 99
        for wrong in ("-1", "9007199254740992", "x"):
            refused = await client.put(path.replace("1234", wrong), body={"msgtype": "m.text", "body": "then"})
            refused.refused(400, "M_INVALID_PARAM")
        own = (await alice.put(path, body={"msgtype": "m.text", "body": "now"})).ok()["event_id"]
        event = (await alice.get("/rooms/{}/event/{}", room_id, own)).ok()
        assert event["origin_server_ts"] == world.clock.now_ms()


async def test_ping_goes_both_ways(world: World) -> None:
    """T-J7: what the bridge answers to us isn't in our answer."""
    async with world.running() as server:
        client, alice = bridge_client(server), await server.user("alice")
        path = "/_matrix/client/v1/appservice/{}/ping"
        told = (await client.post(path, "irc", body={"transaction_id": "meow"})).refused(502, "M_BAD_STATUS")
        assert told["status"] == 404
        world.bridge.lives["/_matrix/app/v1/ping"] = {}
        assert "duration_ms" in (await client.post(path, "irc", body={"transaction_id": "meow"})).ok()
        (await client.post(path, "other")).refused(403, "M_FORBIDDEN")
        (await alice.post(path, "irc")).refused(403, "M_FORBIDDEN")


async def test_aliases_and_users_are_asked_for(world: World) -> None:
    async with world.running() as server:
        client, alice = bridge_client(server), await server.user("alice")

        async def make(path: str) -> None:
            if path == "/_matrix/app/v1/rooms/%23_irc_room%3Ahansa.test":
                await client.create_room(room_alias_name="_irc_room", preset="public_chat")
                world.bridge.lives[path] = {}
            elif path == "/_matrix/app/v1/users/%40_irc_eve%3Ahansa.test":
                await ghost(server, "_irc_eve")
                world.bridge.lives[path] = {}

        world.bridge.before_answer = make
        assert await alice.join("#_irc_room:hansa.test")
        (await alice.get("/directory/room/{}", "#_irc_none:hansa.test")).refused(404, "M_NOT_FOUND")
        eve = "@_irc_eve:hansa.test"
        assert (await alice.get("/profile/{}", eve)).ok()["displayname"] == "_irc_eve"
        (await alice.get("/profile/{}", "@_irc_none:hansa.test")).refused(404, "M_NOT_FOUND")
        (await alice.get("/profile/{}", "@nobody:hansa.test")).refused(404, "M_NOT_FOUND")
        assert not any("nobody" in path for path in world.bridge.asked)


async def test_networks_and_their_room_directories(world: World) -> None:
    world.files = [world.bridge.register(world.folder, protocols=["irc"])]
    instance = {"network_id": "libera", "desc": "Libera", "fields": {}}
    world.bridge.lives["/_matrix/app/v1/thirdparty/protocol/irc"] = {
        "user_fields": ["nick"],
        "location_fields": ["channel"],
        "icon": "mxc://x/y",
        "field_types": {},
        "instances": [instance],
    }
    location = {"alias": "#_irc_a:hansa.test", "protocol": "irc", "fields": {"channel": "#a"}}
    world.bridge.lives["/_matrix/app/v1/thirdparty/location/irc"] = [location]
    async with world.running() as server:
        client, alice = bridge_client(server), await server.user("alice")
        [described] = (await alice.get("/thirdparty/protocols")).ok()["irc"]["instances"]
        assert (await alice.get("/thirdparty/location/irc", channel="#a")).ok() == [location]
        assert any("channel=%23a" in path for path in world.bridge.asked)
        room_id = await client.create_room(name="Channel")
        listing = "/directory/list/appservice/{}/{}"
        (await client.put(listing, "libera", room_id, body={"visibility": "public"})).ok()
        (await alice.put(listing, "libera", room_id, body={"visibility": "public"})).refused(403, "M_FORBIDDEN")
        own = (await alice.post("/publicRooms")).ok()
        network = {"third_party_instance_id": described["instance_id"]}
        of_network = (await alice.post("/publicRooms", body=network)).ok()
        everything = (await alice.post("/publicRooms", body={"include_all_networks": True})).ok()
        found = [[room["room_id"] for room in page["chunk"]] for page in (own, of_network, everything)]
        assert found == [[], [room_id], [room_id]]
        (await client.put(listing, "libera", room_id, body={"visibility": "private"})).ok()
        assert (await alice.post("/publicRooms", body=network)).ok()["chunk"] == []


async def test_registrations_are_read_again(world: World) -> None:
    """A file that is wrong changes nothing."""
    async with world.running() as server:
        client = bridge_client(server)
        (await client.get("/account/whoami")).ok()
        world.files[0].write_text("[")
        await server.hansa.appservices.reload()
        (await client.get("/account/whoami")).ok()
        world.bridge.register(world.folder, as_token="another")
        await server.hansa.appservices.reload()
        (await client.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
        (await bridge_client(server, "another").get("/account/whoami")).ok()


async def test_a_bridge_is_added_while_the_server_runs(world: World) -> None:
    """By a file in a folder of registrations: the list of paths itself is read at the start."""
    bridges = world.folder / "bridges"
    bridges.mkdir()
    world.files = [bridges]
    (bridges / "notes.txt").write_text("no registration")
    async with world.running() as server:
        (await bridge_client(server).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
        world.bridge.register(bridges)
        await server.hansa.appservices.reload()
        assert (await bridge_client(server).get("/account/whoami")).ok()["user_id"] == "@_irc_bot:hansa.test"
        (bridges / "irc.yaml").unlink()
        await server.hansa.appservices.reload()
        (await bridge_client(server).get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")


GOOD: dict[str, object] = {
    "id": "x",
    "url": None,
    "as_token": "a",
    "hs_token": "h",
    "sender_localpart": "bot",
    "namespaces": {},
}


@pytest.mark.parametrize(
    "changed",
    [
        {"id": None},
        {"as_token": ""},
        {"as_token": 5},
        {"hs_token": "a\nb"},
        {"url": "ftp://x"},
        {"sender_localpart": "a:b"},
        {"namespaces": []},
        {"namespaces": {"users": {}}},
        {"namespaces": {"users": [{"exclusive": True}]}},
        {"namespaces": {"users": [{"exclusive": True, "regex": "("}]}},
        {"namespaces": {"users": [{"exclusive": True, "regex": r"(a)\1"}]}},
        {"rate_limited": "yes"},
        {"protocols": "irc"},
    ],
)
def test_bad_registrations_are_refused(changed: dict[str, object]) -> None:
    """T-J9: also patterns that no linear-time engine takes."""
    assert parse_registration(GOOD, ServerName("a.test")).sender == "@bot:a.test"
    with pytest.raises(BadRegistration) as caught:
        parse_registration({**GOOD, **changed}, ServerName("a.test"))
    assert "secret" not in str(caught.value)


def test_a_registration_that_others_can_read_is_refused(world: World) -> None:
    world.files[0].chmod(0o644)
    with pytest.raises(BadRegistration, match="chmod"):
        read_registration(world.files[0], ServerName("a.test"))
    world.files[0].chmod(0o600)
    given = json.loads(world.files[0].read_text())
    assert read_registration(world.files[0], ServerName("a.test")).id == given["id"]


def test_patterns_are_matched_in_linear_time() -> None:
    """T-J9."""
    evil = {"users": [{"exclusive": True, "regex": "@(a+)+$"}]}
    registration = parse_registration({**GOOD, "namespaces": evil}, ServerName("a.test"))
    assert not registration.excludes_user("@" + "a" * 200 + "!")
    assert not registration.excludes_user("@" + "a" * 1_000_000)


async def test_the_doctor_looks_at_registrations(world: World) -> None:
    config = config_for_tests(world.folder)
    assert await bridge_findings(config) == []
    config = replace(config, appservices=Appservices(registration_paths=tuple(world.files)))
    assert [(finding.verdict, finding.message) for finding in await bridge_findings(config)] == [("ok", "irc")]
    world.files[0].write_text("id: 5")
    [finding] = await bridge_findings(config)
    assert finding.verdict == "failed"
    assert "`id` must be a text" in finding.message
