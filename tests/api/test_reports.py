"""Reports to those who run the server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.kit.server import RunningServer, running_server


async def kept(server: RunningServer) -> list[tuple[Any, ...]]:
    rows = await server.db.fetch("SELECT kind, target, sender, reporter, reason FROM reports ORDER BY report_id")
    return [tuple(row) for row in rows]


async def test_what_is_reported_is_kept_once(server: RunningServer) -> None:
    alice, bob = await server.user("alice"), await server.user("bob")
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    event_id = await alice.send(room_id, "rude")
    (await bob.post("/rooms/{}/report/{}", room_id, event_id, body={"score": -100})).ok()
    (await bob.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "rude"})).ok()
    (await bob.post("/rooms/{}/report", room_id, body={"reason": ""})).ok()
    (await bob.post("/users/{}/report", alice.user_id, body={"reason": "rude"})).ok()
    assert await kept(server) == [
        ("event", event_id, alice.user_id, bob.user_id, "rude"),
        ("room", room_id, None, bob.user_id, ""),
        ("user", alice.user_id, alice.user_id, bob.user_id, "rude"),
    ]


async def test_reports_tell_nothing_about_what_there_is(server: RunningServer) -> None:
    """T-H15: known and unknown, seen and hidden are answered alike; only what there is gets kept."""
    alice, eve = await server.user("alice"), await server.user("eve")
    secret = await alice.create_room()
    event_id = await alice.send(secret)
    room_id, nowhere = await eve.create_room(), "!nowhere:hansa.test"
    path, body = "/rooms/{}/report/{}", {"reason": "x"}
    answers = [
        await eve.post(path, room, event, body=body)
        for room in (secret, room_id, nowhere)
        for event in (event_id, "$unknown")
    ]
    assert {(answer.status, answer.body) for answer in answers} == {(404, answers[0].body)}
    for target in (secret, nowhere):
        assert (await eve.post("/rooms/{}/report", target, body=body)).ok() == {}
    for target in (alice.user_id, "@nobody:hansa.test", "@nobody:elsewhere.test"):
        assert (await eve.post("/users/{}/report", target, body=body)).ok() == {}
    assert [(kind, target) for kind, target, *_ in await kept(server)] == [("room", secret), ("user", alice.user_id)]


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"reason": 5}, "M_BAD_JSON"),
        ({"reason": "a\x00b"}, "M_INVALID_PARAM"),
        ({"reason": "x" * 5_001}, "M_INVALID_PARAM"),
    ],
)
async def test_reasons_are_short_text(server: RunningServer, body: dict[str, Any], errcode: str) -> None:
    alice = await server.user("alice")
    (await alice.post("/users/{}/report", alice.user_id, body=body)).refused(400, errcode)
    (await alice.post("/rooms/{}/report", "!r:hansa.test", body=body)).refused(400, errcode)


async def test_reports_are_rationed(database_dsn: str) -> None:
    """T-H15: no floods."""
    limits = "[rate_limits]\nreport = { per_second = 0.001, burst = 2 }\n"
    async with running_server(database_dsn, toml=limits) as server:
        alice = await server.user("alice")
        for status in (200, 200, 429):
            answer = await alice.post("/users/{}/report", alice.user_id, body={"reason": "x"})
            assert answer.status == status


async def test_a_refusal_tells_as_little(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H15: who has made as many reports as may be learns no more of hidden rooms than before."""
    alice, eve = await server.user("alice"), await server.user("eve")
    secret, known = await alice.create_room(), await eve.create_room()
    (await eve.post("/rooms/{}/report", known, body={"reason": "x"})).ok()
    monkeypatch.setattr("homeserver.rooms.commands.reporting.REPORTS_MAX", 1)
    for room_id in (secret, "!nowhere:hansa.test"):
        (await eve.post("/rooms/{}/report", room_id, body={"reason": "x"})).refused(429, "M_LIMIT_EXCEEDED")
    for user_id in (alice.user_id, "@nobody:hansa.test"):
        (await eve.post("/users/{}/report", user_id, body={"reason": "x"})).refused(429, "M_LIMIT_EXCEEDED")
