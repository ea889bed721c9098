"""Notifications arrive at a real gateway over TLS, whole and once; bad gateways hurt nobody."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.authority import Authority
from tests.kit.clock import FakeClock, passing
from tests.kit.push_gateway import PushGateway, push_gateway
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import SOON_S, a_moment, until


class World:
    """Two users in a room, and a gateway that the second one's phone is pushed by."""

    def __init__(self, dsn: str, authority: Authority, gateway: PushGateway) -> None:
        self._dsn = dsn
        self._authority = authority
        self.gateway = gateway
        self.clock = FakeClock()

    @asynccontextmanager
    async def running(self, *, loopback: bool = True) -> AsyncIterator[RunningServer]:
        allowed = 'allow_ip_ranges = ["127.0.0.0/8", "::1/128"]' if loopback else ""
        toml = f'[federation]\nca_path = "{self._authority.ca_path}"\n{allowed}\n'
        async with running_server(self._dsn, clock=self.clock, toml=toml) as server:
            yield server

    async def pass_time(self, seconds: float) -> None:
        for _ in range(3):
            self.clock.advance(seconds / 3)
            await a_moment()


@pytest.fixture
async def world(database_dsn: str, tmp_path: Path) -> AsyncIterator[World]:
    authority = Authority(tmp_path)
    async with push_gateway(authority) as gateway:
        yield World(database_dsn, authority, gateway)


async def pair(server: RunningServer, **room: Any) -> tuple[Client, Client, str]:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat", **room)
    await bob.join(room_id)
    return alice, bob, room_id


async def set_pusher(client: Client, world: World, **data: Any) -> None:
    (await client.post("/pushers/set", body=world.gateway.pusher(**data))).ok()


async def ended(server: RunningServer, outcome: str, times: int) -> None:
    """Returns once so many deliveries ended so."""

    async def is_so() -> bool:
        return server.hansa.metrics.value("hansa_pushes_total", outcome=outcome) == times

    await until(is_so)


async def test_a_message_is_pushed_with_what_the_spec_names(world: World) -> None:
    """Also T-L8: over TLS that is verified. The sender's own devices hear nothing."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server, name="Harbour", room_alias_name="harbour")
        await set_pusher(bob, world, custom=1)
        await set_pusher(alice, world, pushkey="alices")
        event_id = await alice.send(room_id, "ahoy")
        told = await world.gateway.next()
        assert told == {
            "event_id": event_id,
            "room_id": room_id,
            "type": "m.room.message",
            "sender": alice.user_id,
            "sender_display_name": "alice",
            "room_name": "Harbour",
            "room_alias": "#harbour:hansa.test",
            "content": {"msgtype": "m.text", "body": "ahoy"},
            "counts": {"unread": 1},
            "prio": "high",
            "devices": [
                {
                    "app_id": "org.example.app",
                    "pushkey": "key",
                    "pushkey_ts": world.clock.now_ms() // 1000,
                    "data": {"custom": 1},
                    "tweaks": {"sound": "default"},
                }
            ],
        }
        mention = {"m.mentions": {"user_ids": [bob.user_id]}}
        await alice.send(room_id, "bob: ahoy", **mention)
        loud = await world.gateway.next()
        assert loud["devices"][0]["tweaks"] == {"sound": "default", "highlight": True}
        assert loud["counts"] == {"unread": 2}
        assert world.gateway.told.empty()


async def test_event_id_only_says_no_more(world: World) -> None:
    """T-L12."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server, name="Harbour")
        await set_pusher(bob, world, format="event_id_only")
        event_id = await alice.send(room_id, "secret")
        told = await world.gateway.next()
        assert {key: told[key] for key in sorted(told) if key != "devices"} == {
            "counts": {"unread": 1},
            "event_id": event_id,
            "prio": "high",
            "room_id": room_id,
        }
        assert "tweaks" not in told["devices"][0]


async def test_an_encrypted_event_goes_without_its_content(world: World) -> None:
    """T-L12."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        body = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"}
        (await alice.put("/rooms/{}/send/m.room.encrypted/{}", room_id, "t", body=body)).ok()
        told = await world.gateway.next()
        assert (told["type"], told["prio"], "content" in told) == ("m.room.encrypted", "high", False)


async def test_an_invite_is_pushed_to_the_invited_alone(world: World) -> None:
    async with world.running() as server:
        alice, bob, _ = await pair(server)
        await set_pusher(bob, world)
        world.clock.advance(1)
        room_id = await alice.create_room(name="Council", invite=[bob.user_id])
        told = await world.gateway.next()
        assert (told["room_id"], told["type"], told["user_is_target"]) == (room_id, "m.room.member", True)
        assert told["room_name"] == "Council"
        assert told["counts"] == {}


async def test_ignored_and_muted_are_not_pushed(world: World) -> None:
    """T-G16: also no invites of whom one ignores."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        carol = await server.user("carol")
        await carol.join(room_id)
        await set_pusher(bob, world)
        ignored: dict[str, Any] = {"ignored_users": {alice.user_id: {}}}
        (await bob.put("/user/{}/account_data/m.ignored_user_list", bob.user_id, body=ignored)).ok()
        await alice.send(room_id, "unheard")
        world.clock.advance(1)
        await alice.create_room(invite=[bob.user_id])
        await carol.send(room_id, "heard")
        assert (await world.gateway.next())["content"]["body"] == "heard"
        (await bob.put("/pushrules/global/override/.m.rule.master/enabled", body={"enabled": True})).ok()
        await carol.send(room_id, "muted")
        (await bob.put("/pushrules/global/override/.m.rule.master/enabled", body={"enabled": False})).ok()
        await carol.send(room_id, "heard again")
        assert (await world.gateway.next())["content"]["body"] == "heard again"


@pytest.mark.parametrize("list_name", ["ignored_users", "blocked_users"])
async def test_unwanted_invites_are_not_pushed(world: World, list_name: str) -> None:
    """T-E22: nor is an invite that came before its sender was put on the list, and waits for the gateway."""
    async with world.running() as server:
        alice, bob, _ = await pair(server)
        carol = await server.user("carol")
        world.gateway.status = 503
        await set_pusher(bob, world)
        world.clock.advance(1)
        await alice.create_room(name="Spam", invite=[bob.user_id])
        assert (await world.gateway.next())["room_name"] == "Spam"  # and it is to be told again
        unwanted = {list_name: [alice.user_id]}
        kind = "org.matrix.msc4155.invite_permission_config"
        (await bob.put("/user/{}/account_data/{}", bob.user_id, kind, body=unwanted)).ok()
        if list_name == "ignored_users":
            await alice.create_room(name="More spam", invite=[bob.user_id])
        await carol.create_room(name="Council", invite=[bob.user_id])
        world.gateway.status = 200
        async with passing(world.clock, 1):
            assert (await world.gateway.next())["room_name"] == "Council"
        assert world.gateway.told.empty()


async def test_reading_takes_the_badge_away(world: World) -> None:
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        await alice.send(room_id, "one")
        assert (await world.gateway.next())["counts"] == {"unread": 1}
        event_id = await alice.send(room_id, "two")
        assert (await world.gateway.next())["counts"] == {"unread": 2}
        (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
        async with passing(world.clock, 1):
            told = await world.gateway.next()
        assert (told["counts"], "event_id" in told) == ({"unread": 0}, False)
        (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
        await world.pass_time(3)
        assert world.gateway.told.empty()


@pytest.mark.parametrize("key", ["org.matrix.msc4076.disable_badge_count", "disable_badge_count"])
async def test_who_counts_by_themselves_are_told_no_counts(world: World, key: str) -> None:
    """MSC4076: an app that decrypts knows better what is unread, and is woken for no badge."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world, **{key: True})
        event_id = await alice.send(room_id, "ahoy")
        told = await world.gateway.next()
        assert (told["event_id"], told["counts"]) == (event_id, {})
        (await bob.post("/rooms/{}/receipt/m.read/{}", room_id, event_id)).ok()
        await world.pass_time(5)
        await alice.send(room_id, "ahoy again")
        assert (await world.gateway.next())["content"]["body"] == "ahoy again", "no badge came between"
        await ended(server, "accepted", 2)


async def test_a_rejected_key_is_removed(world: World) -> None:
    """T-L11: the key that was asked about, and no other."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        await set_pusher(alice, world, pushkey="alices")
        world.gateway.rejected = ["alices", "elsewhere"]
        await alice.send(room_id, "one")
        await world.gateway.next()
        assert len((await bob.get("/pushers")).ok()["pushers"]) == 1
        world.gateway.rejected = ["key"]
        await alice.send(room_id, "two")
        await world.gateway.next()

        async def is_gone() -> bool:
            return not (await bob.get("/pushers")).ok()["pushers"]

        await until(is_gone)
        assert len((await alice.get("/pushers")).ok()["pushers"]) == 1


@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (500, None, {}),
        (404, None, {}),
        (307, None, {"Location": "https://localhost/_matrix/push/v1/notify"}),
        (200, b"<html>", {}),
        (200, b"[]" * 40_000, {}),
    ],
)
async def test_a_failing_gateway_is_left_alone_then_tried_again(
    world: World, status: int, body: bytes | None, headers: dict[str, str]
) -> None:
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        world.gateway.status, world.gateway.body, world.gateway.headers = status, body, headers
        event_id = await alice.send(room_id, "one")
        await world.gateway.next()
        await ended(server, "failed", 1)
        await alice.send(room_id, "two")
        await world.pass_time(1)
        assert world.gateway.told.empty()
        world.gateway.status, world.gateway.body = 200, None
        async with passing(world.clock, 1):
            assert (await world.gateway.next())["event_id"] == event_id
            assert (await world.gateway.next())["content"]["body"] == "two"


async def test_a_silent_gateway_delays_nobody(world: World, tmp_path: Path) -> None:
    """T-L11: while one gateway never answers, sends return and other gateways are told."""
    async with world.running() as server, push_gateway(Authority(tmp_path)) as untrusted:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world, pushkey="slow")
        world.gateway.is_silent = True
        await alice.send(room_id, "one")
        await world.gateway.next()
        (await bob.post("/pushers/set", body=untrusted.pusher("lying"))).ok()
        async with asyncio.timeout(SOON_S):
            await alice.send(room_id, "two")
        await ended(server, "failed", 1)
        assert untrusted.told.empty()  # T-L8: its certificate is nobody's that we trust


async def test_private_addresses_are_not_pushed_to(world: World) -> None:
    """T-L1: the shared filter covers push."""
    async with world.running(loopback=False) as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        await alice.send(room_id, "one")
        await ended(server, "failed", 1)
        assert world.gateway.told.empty()


async def test_what_waits_survives_a_restart_and_so_does_the_back_off(world: World) -> None:
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        world.gateway.status = 503
        event_id = await alice.send(room_id, "one")
        await world.gateway.next()
        await ended(server, "failed", 1)

        async def is_saved() -> bool:
            world.clock.advance(0.2)
            return bool(await server.db.fetchval("SELECT count(*) = 1 FROM pushes"))

        await until(is_saved)
    while not world.gateway.told.empty():  # tried again meanwhile
        world.gateway.told.get_nowait()
    world.gateway.status = 200
    async with world.running() as server:
        await world.pass_time(0.3)
        assert world.gateway.told.empty()
        async with passing(world.clock, 1):
            assert (await world.gateway.next())["event_id"] == event_id

        async def is_done() -> bool:
            world.clock.advance(1)
            return bool(await server.db.fetchval("SELECT count(*) = 0 FROM pushes"))

        await until(is_done)


async def test_what_was_decided_in_the_last_moment_is_pushed_after_a_crash(world: World) -> None:
    """The cursor hadn't moved: the event is put to the rules again."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        await world.pass_time(4)
        world.gateway.is_silent = True
        event_id = await alice.send(room_id, "one")
        assert (await world.gateway.next())["event_id"] == event_id
    world.gateway.is_silent = False
    async with world.running() as server, passing(world.clock, 1):
        assert (await world.gateway.next())["event_id"] == event_id


async def test_redacted_and_read_events_are_not_told_late(world: World) -> None:
    """T-C13."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        world.gateway.status = 500
        read = await alice.send(room_id, "read elsewhere")
        await world.gateway.next()
        # After what was read, so that it isn't left out for that.
        redacted = await alice.send(room_id, "regretted")
        await ended(server, "failed", 1)
        (await alice.put("/rooms/{}/redact/{}/{}", room_id, redacted, "t")).ok()
        (await bob.post("/rooms/{}/receipt/m.read.private/{}", room_id, read)).ok()
        await alice.send(room_id, "news")
        world.gateway.status = 200
        async with passing(world.clock, 1):
            assert (await world.gateway.next())["content"] == {"msgtype": "m.text", "body": "news"}
            await ended(server, "dropped", 2)


async def test_nothing_is_pushed_after_logout(world: World) -> None:
    """T-I23."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        await alice.send(room_id, "one")
        await world.gateway.next()
        (await bob.post("/logout")).ok()
        await alice.send(room_id, "two")
        await world.pass_time(3)
        assert world.gateway.told.empty()
        assert await server.db.fetchval("SELECT count(*) FROM pushers") == 0


async def test_who_gets_changes_or_loses_a_pusher_is_told_accordingly(world: World) -> None:
    """What is known of pushers from the message before is not taken for what they are now."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        second = {**world.gateway.pusher("second"), "append": True}
        steps: list[tuple[dict[str, Any], set[str]]] = [
            (world.gateway.pusher(), {"key"}),
            (second, {"key", "second"}),
            ({**second, "data": {"url": world.gateway.url, "format": "event_id_only"}}, {"key", "second"}),
            ({**world.gateway.pusher(), "kind": None}, {"second"}),
        ]
        for number, (change, keys) in enumerate(steps):
            (await bob.post("/pushers/set", body=change)).ok()
            event_id = await alice.send(room_id, f"message {number}")
            told: dict[str, Any] = {}
            while told.keys() != keys:
                notification = await world.gateway.next()
                if notification.get("event_id") == event_id:
                    told[notification["devices"][0]["pushkey"]] = notification
            if "second" in told:
                assert ("content" in told["second"]) == (number == 1)
        (await alice.post("/pushers/set", body=world.gateway.pusher("second"))).ok()
        (await bob.post("/pushers/set", body=world.gateway.pusher("third"))).ok()
        event_id = await alice.send(room_id, "last")
        while (notification := await world.gateway.next()).get("event_id") != event_id:
            continue
        assert [device["pushkey"] for device in notification["devices"]] == ["third"]


async def test_what_is_switched_off_is_told_nothing(world: World) -> None:
    """MSC3881: nor what happened meanwhile, once it is on again."""
    async with world.running() as server:
        alice, bob, room_id = await pair(server)
        await set_pusher(bob, world)
        pusher = world.gateway.pusher()
        (await bob.post("/pushers/set", body={**pusher, "org.matrix.msc3881.enabled": False})).ok()
        await set_pusher(bob, world, pushkey="another")
        await alice.send(room_id, "while it is off")
        assert (await world.gateway.next())["devices"][0]["pushkey"] == "another"
        (await bob.post("/pushers/set", body={**pusher, "org.matrix.msc3881.enabled": True})).ok()
        (await bob.post("/pushers/set", body={"kind": None, "app_id": pusher["app_id"], "pushkey": "another"})).ok()
        event_id = await alice.send(room_id, "now it is on")
        told = await world.gateway.next()
        assert (told["event_id"], told["devices"][0]["pushkey"]) == (event_id, pusher["pushkey"])
