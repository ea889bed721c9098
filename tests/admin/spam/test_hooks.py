"""Rules look at what accounts do outside of rooms, too: each hook refuses, and the same without the rule passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import latest, put, rule
from tests.api.test_identity_servers import invite as to_address
from tests.kit.authority import Authority
from tests.kit.identity import identity_server
from tests.kit.server import Answered, Client, RunningServer, running_server

Act = Callable[[RunningServer, Client], Awaitable[Answered]]


async def register(server: RunningServer, user: Client) -> Answered:
    auth = {"type": "m.login.dummy"}
    body = {"username": "spam-newcomer", "password": "correct horse battery", "auth": auth}
    return await server.anonymous().post("/register", body=body)


async def log_in(server: RunningServer, user: Client) -> Answered:
    named = {"type": "m.id.user", "user": "user"}
    body = {"type": "m.login.password", "identifier": named, "password": "correct horse battery"}
    return await server.anonymous().post("/login", body=body)


async def rename(server: RunningServer, user: Client) -> Answered:
    return await user.put("/profile/{}/displayname", user.user_id, body={"displayname": "Buy SPAM"})


async def upload(server: RunningServer, user: Client) -> Answered:
    return await user.request("POST", "/_matrix/media/v3/upload", data=b"MZ", query={"filename": "spam.exe"})


async def report(server: RunningServer, user: Client) -> Answered:
    return await user.post("/users/{}/report", user.user_id, body={"reason": "spam"})


async def name_room(server: RunningServer, user: Client) -> Answered:
    room_id = await user.create_room()
    return await user.put("/directory/room/{}", "#spam:hansa.test", body={"room_id": room_id})


async def join(server: RunningServer, user: Client) -> Answered:
    other = await server.user("host")
    return await user.post("/join/{}", await other.create_room(preset="public_chat"))


async def invite(server: RunningServer, user: Client) -> Answered:
    other = await server.user("guest")
    return await user.post("/rooms/{}/invite", await user.create_room(), body={"user_id": other.user_id})


async def publish(server: RunningServer, user: Client) -> Answered:
    room_id = await user.create_room(name="Spam for all")
    return await user.put("/directory/list/room/{}", room_id, body={"visibility": "public"})


async def send_to_devices(server: RunningServer, user: Client) -> Answered:
    devices: dict[str, Any] = {f"DEVICE{number}": {} for number in range(4)}
    return await user.put("/sendToDevice/m.test/1", body={"messages": {user.user_id: devices}})


async def deactivate(server: RunningServer, user: Client) -> Answered:
    named = {"type": "m.id.user", "user": user.user_id}
    auth = {"type": "m.login.password", "identifier": named, "password": "correct horse battery"}
    return await user.post("/account/deactivate", body={"auth": auth})


async def make_room(server: RunningServer, user: Client) -> Answered:
    return await user.post("/createRoom", body={"name": "spam"})


async def knock(server: RunningServer, user: Client) -> Answered:
    other = await server.user("host")
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = await other.create_room(initial_state=[rules])
    return await user.post("/knock/{}", room_id, body={"reason": "spam"})


@pytest.mark.parametrize(
    ("hook", "condition", "act"),
    [
        ("publish", 'event.text.contains("spam")', publish),
        ("to_device", "event.size > 3", send_to_devices),
        ("deactivation", "sender.age_s < 3600", deactivate),
        ("knock", 'event.text.contains("spam")', knock),
        ("registration", 'sender.localpart.startsWith("spam-")', register),
        ("login", 'sender.id == "@user:hansa.test"', log_in),
        ("profile", 'event.text.contains("spam")', rename),
        ("media", r'event.file_name.re2("\\.exe$") && event.size == 2', upload),
        ("report", 'event.text.contains("spam")', report),
        ("alias", 'event.text.contains("#spam")', name_room),
        ("join", "sender.age_s < 3600 && room.public", join),
        ("invite", 'event.membership == "invite" && event.target_local', invite),
    ],
)
async def test_each_hook_refuses(server: RunningServer, crew: Crew, hook: str, condition: str, act: Act) -> None:
    await put(crew, "hook", rule(condition, when=(hook,)))
    refused = (await act(server, crew.user)).refused(403, "M_FORBIDDEN")
    assert refused["error"].startswith("no adverts (to appeal: ")
    assert {one["hook"] for one in await latest(crew)} == {hook}


@pytest.mark.parametrize(
    "act", [register, log_in, rename, upload, report, name_room, publish, send_to_devices, deactivate, knock, make_room]
)
async def test_without_rules_nothing_is_refused(server: RunningServer, crew: Crew, act: Act) -> None:
    (await act(server, crew.user)).ok()


@pytest.mark.slow
async def test_invites_to_addresses_are_looked_at(database_dsn: str, tmp_path: Path) -> None:
    """Before the address is told to anybody; the decision doesn't keep it."""
    async with identity_server(Authority(tmp_path).server_context("127.0.0.1")) as identity:
        toml = f'[federation]\nca_path = "{tmp_path}/ca.pem"\nallow_ip_ranges = ["127.0.0.0/8"]\n'
        async with running_server(database_dsn, toml=toml) as server:
            crew = await crew_of(server)
            room_id = await crew.user.create_room()
            (await crew.user.post("/rooms/{}/invite", room_id, body=to_address(identity))).ok()
            await put(crew, "hook", rule("sender.age_s < 3600", when=("invite_address",)))
            refused = await crew.user.post(
                "/rooms/{}/invite", room_id, body=to_address(identity, "davenport@hansa.test")
            )
            refused.refused(403, "M_FORBIDDEN")
            [decision] = await latest(crew)
            explained = (
                await crew.auditor.get("/_hansa/admin/v1/spam/decisions/{}", str(decision["decision_id"]))
            ).ok()
            assert "davenport" not in str(explained)
