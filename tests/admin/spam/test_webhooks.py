"""Webhooks of rules arrive once the other side answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from aiohttp import web

from tests.admin.people import crew_of
from tests.admin.spam.test_rules_over_http import put, rule
from tests.kit.canned import answer, canned
from tests.kit.clock import FakeClock
from tests.kit.listening import listening
from tests.kit.server import running_server
from tests.kit.until import until


async def test_a_receiver_is_told_what_happened(database_dsn: str) -> None:
    """A real HTTP server gets one call for one hit, without what was said, and none for what isn't hit."""
    calls: list[tuple[str, dict[str, Any]]] = []

    async def receive(request: web.Request) -> web.Response:
        calls.append((request.content_type, await request.json()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    toml = '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
    async with listening(app) as port, running_server(database_dsn, toml=toml) as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room()
        action = {"kind": "webhook", "url": f"http://127.0.0.1:{port}/hook"}
        await put(crew, "told", rule('event.text.contains("zebra")', action))
        await crew.user.send(room_id, "nothing")
        event_id = await crew.user.send(room_id, "A zebra")

        async def is_done() -> bool:
            return bool(calls) and await server.db.fetchval("SELECT count(*) FROM spam_webhook_calls") == 0

        await until(is_done)
    [(content_type, told)] = calls
    assert content_type == "application/json"
    assert {name: value for name, value in told.items() if name != "decided_ts"} == {
        "rule_id": "told",
        "rule_version": 1,
        "hook": "event",
        "sender": crew.user.user_id,
        "room_id": room_id,
        "event_id": event_id,
    }


async def test_calls_are_made_again_until_they_are_answered(database_dsn: str, tmp_path: Path) -> None:
    """Across a restart in the middle."""
    heard: list[str] = []

    def say(head: str) -> bytes:
        heard.append(head)
        return answer(b"{}") if len(heard) > 2 else answer(b"{}", status=503)

    clock = FakeClock()
    toml = '[federation]\nallow_ip_ranges = ["127.0.0.0/8"]\n'
    async with canned(say) as service:
        async with running_server(database_dsn, clock=clock, toml=toml) as server:
            crew = await crew_of(server)
            room_id = await crew.user.create_room()
            url = f"http://127.0.0.1:{service.port}/hook"
            await put(crew, "told", rule('event.text.contains("zebra")', {"kind": "webhook", "url": url}))
            await crew.user.send(room_id, "zebra")

            async def is_tried() -> bool:
                return len(heard) == 1 and await server.db.fetchval("SELECT tries FROM spam_webhook_calls") == 1

            await until(is_tried)
        async with running_server(database_dsn, clock=clock, toml=toml) as server:

            async def is_heard() -> bool:
                clock.advance(5)
                return bool(await server.db.fetchval("SELECT count(*) FROM spam_webhook_calls") == 0)

            await until(is_heard)
    assert len(heard) == 3
    assert heard[0].startswith("POST /hook ")
