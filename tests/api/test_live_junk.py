"""Junk sent to the live endpoints gets the spec's errors, never a 5xx."""

from __future__ import annotations

import json
from typing import Any

import pytest

from homeserver.web.endpoint import Endpoint
from tests.api.live import ALICE, Live, running_live

VALUES: list[Any] = [None, True, 0, -1, 2**53, 1e300, "", "x", "\x00", "\ud800", "é" * 300, [], [[]], {}, {"a": None}]
FIELDS = (
    "actions enabled pattern conditions typing timeout presence status_msg thread_id m.read m.fully_read "
    "m.read.private pushkey app_id kind lang data append app_display_name device_display_name profile_tag"
).split()
SEGMENTS = {
    "room_id": ["!nothing:here", "%00", "x", "!" + "a" * 300],
    "event_id": ["$nothing", "%ED%A0%80", "x"],
    "user_id": [ALICE, "@%00:a", "x"],
    "receipt_type": ["m.read", "%FF"],
    "kind": ["override", "content", "x"],
    "rule_id": ["%00", "a", ".m.rule.master", "%ED%A0%80", "x" * 400],
}


def _paths(declared: Endpoint, real: dict[str, str]) -> list[str]:
    found = [declared.paths[0].removeprefix("/_matrix/client/v3")]
    for name, junk in SEGMENTS.items():
        values = [*junk, real[name]] if name in real else junk
        found = [path.replace("{" + name + "}", value) for path in found for value in values]
    return sorted(set(found))


def _bodies() -> list[bytes]:
    bodies = [b"", b"[", b"[]", b'"x"', b"\xff", b'{"a":' * 200 + b"1" + b"}" * 200, b"{}"]
    bodies += [json.dumps(dict.fromkeys(FIELDS, value)).encode() for value in VALUES]
    valid = {"actions": ["notify"], "conditions": [{"kind": "event_match", "key": "a..b\\", "pattern": "**?"}]}
    bodies += [json.dumps({**valid, field: value}).encode() for field in valid for value in VALUES]
    return bodies


async def _send_all(live: Live, declared: Endpoint, real: dict[str, str]) -> None:
    for path in _paths(declared, real):
        for body in _bodies() if declared.method in ("PUT", "POST") else [b""]:
            status, answer = await live.call(ALICE, declared.method, path, raw=body)
            assert status < 500, (declared.method, path, body, answer)
            assert status == 200 or answer["errcode"].startswith("M_"), (path, body, answer)


@pytest.mark.slow
async def test_junk_is_refused_cleanly(database_dsn: str) -> None:
    async with running_live(database_dsn) as live:
        room = await live.room(ALICE)
        real = {"room_id": room, "event_id": await live.say(ALICE, room)}
        for declared in live.web.endpoints:
            await _send_all(live, declared, real)
