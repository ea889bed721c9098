"""Webhooks of rules arrive once the other side answers."""

from __future__ import annotations

from pathlib import Path

from tests.admin.people import crew_of
from tests.admin.spam.test_rules_over_http import put, rule
from tests.kit.canned import answer, canned
from tests.kit.clock import FakeClock
from tests.kit.server import running_server
from tests.kit.until import until


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
