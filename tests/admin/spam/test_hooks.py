"""Rules look at what accounts do outside of rooms, too: each hook refuses, and the same without the rule passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from tests.admin.people import Crew
from tests.admin.spam.test_rules_over_http import latest, put, rule
from tests.kit.server import Answered, Client, RunningServer

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


@pytest.mark.parametrize(
    ("hook", "condition", "act"),
    [
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


@pytest.mark.parametrize("act", [register, log_in, rename, upload, report, name_room])
async def test_without_rules_nothing_is_refused(server: RunningServer, crew: Crew, act: Act) -> None:
    (await act(server, crew.user)).ok()
