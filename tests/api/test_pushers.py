"""Pushers over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.api.live import ALICE, BOB, Live, running_live
from tests.kit.server import running_server

URL = "https://push.example/_matrix/push/v1/notify"
PUSHER = {
    "pushkey": "key",
    "kind": "http",
    "app_id": "org.example.app",
    "app_display_name": "App",
    "device_display_name": "Phone",
    "profile_tag": "tag",
    "lang": "en",
    "data": {"url": URL, "format": "event_id_only", "custom": 1},
}

ENABLED = "org.matrix.msc3881.enabled"
# What every pusher says beside: the live parts know each user by one device.
OWN = {ENABLED: True, "org.matrix.msc3881.device_id": "D"}


@pytest.fixture
async def live(database_dsn: str) -> AsyncIterator[Live]:
    async with running_live(database_dsn) as parts:
        yield parts


async def test_pushers_are_set_changed_and_deleted(live: Live) -> None:
    await live.ok(ALICE, "POST", "/pushers/set", PUSHER)
    assert await live.ok(ALICE, "GET", "/pushers") == {"pushers": [{**PUSHER, **OWN}]}
    changed = {**PUSHER, "lang": "de"}
    await live.ok(ALICE, "POST", "/pushers/set", changed)
    assert await live.ok(ALICE, "GET", "/pushers") == {"pushers": [{**changed, **OWN}]}
    assert [entry.user_ids for entry in live.heard] == [(ALICE,), (ALICE,)]
    await live.ok(ALICE, "POST", "/pushers/set", {"kind": None, "app_id": "org.example.app", "pushkey": "key"})
    assert await live.ok(ALICE, "GET", "/pushers") == {"pushers": []}


async def test_another_device_switches_one_off(database_dsn: str) -> None:
    """MSC3881: it stays the device's that made it, and goes with that."""
    async with running_server(database_dsn) as server:
        phone = await server.user("alice")
        desk = await server.login("alice")
        (await phone.post("/pushers/set", body=PUSHER)).ok()
        for is_on in (False, True, False):
            (await desk.post("/pushers/set", body={**PUSHER, ENABLED: is_on})).ok()
            [shown] = (await desk.get("/pushers")).ok()["pushers"]
            assert shown == {**PUSHER, ENABLED: is_on, "org.matrix.msc3881.device_id": phone.device_id}
        (await desk.post("/pushers/set", body={**PUSHER, ENABLED: "no"})).refused(400, "M_BAD_JSON")
        # Who sets it anew without a word has it on, and for itself.
        (await desk.post("/pushers/set", body=PUSHER)).ok()
        [shown] = (await phone.get("/pushers")).ok()["pushers"]
        assert shown == {**PUSHER, ENABLED: True, "org.matrix.msc3881.device_id": desk.device_id}


@pytest.mark.parametrize(("append", "left"), [(False, 0), (True, 1)])
async def test_a_key_moves_to_its_newest_user(live: Live, append: bool, left: int) -> None:
    await live.ok(ALICE, "POST", "/pushers/set", PUSHER)
    await live.ok(BOB, "POST", "/pushers/set", {**PUSHER, "append": append})
    assert len((await live.ok(ALICE, "GET", "/pushers"))["pushers"]) == left
    assert len((await live.ok(BOB, "GET", "/pushers"))["pushers"]) == 1


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"kind": "email"}, "M_INVALID_PARAM"),
        ({"lang": None}, "M_MISSING_PARAM"),
        ({"data": None}, "M_MISSING_PARAM"),
        ({"data": {}}, "M_MISSING_PARAM"),
        ({"data": {"url": URL.replace("https", "http")}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://push.example/elsewhere"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://[::1/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://a:b@push.example/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": "https://push.example:x/_matrix/push/v1/notify"}}, "M_INVALID_PARAM"),
        ({"data": {"url": 5}}, "M_INVALID_PARAM"),
        ({"data": {"url": URL, "format": "all"}}, "M_INVALID_PARAM"),
        ({"data": {"url": URL, "x": "x" * 9_000}}, "M_INVALID_PARAM"),
        ({"data": []}, "M_BAD_JSON"),
        ({"app_id": "x" * 65}, "M_INVALID_PARAM"),
        ({"app_id": ""}, "M_INVALID_PARAM"),
        ({"pushkey": "x" * 513}, "M_INVALID_PARAM"),
        ({"pushkey": "a\x00"}, "M_INVALID_PARAM"),
        ({"app_display_name": "x" * 600}, "M_INVALID_PARAM"),
        ({"append": "yes"}, "M_BAD_JSON"),
    ],
)
async def test_what_a_pusher_may_be(live: Live, change: dict[str, Any], errcode: str) -> None:
    status, answer = await live.call(ALICE, "POST", "/pushers/set", {**PUSHER, **change})
    assert (status, answer["errcode"]) == (400, errcode)
    assert await live.ok(ALICE, "GET", "/pushers") == {"pushers": []}


async def test_kind_has_to_be_given(live: Live) -> None:
    status, answer = await live.call(ALICE, "POST", "/pushers/set", {"app_id": "a", "pushkey": "b"})
    assert (status, answer["errcode"]) == (400, "M_MISSING_PARAM")


async def test_pushers_are_capped(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H2: as every collection that a user writes."""
    monkeypatch.setattr("homeserver.push.pushers.PUSHERS_PER_USER_MAX", 2)
    for key, status in (("a", 200), ("b", 200), ("c", 400), ("b", 200)):
        assert (await live.call(ALICE, "POST", "/pushers/set", {**PUSHER, "pushkey": key}))[0] == status


async def test_pushers_end_with_their_device(database_dsn: str) -> None:
    """T-I23: in the same transaction."""
    async with running_server(database_dsn) as server:
        phone = await server.user("alice")
        (await phone.post("/pushers/set", body=PUSHER)).ok()
        laptop = await server.login("alice")
        (await laptop.post("/pushers/set", body={**PUSHER, "pushkey": "laptop"})).ok()
        (await phone.post("/logout")).ok()
        assert [one["pushkey"] for one in (await laptop.get("/pushers")).ok()["pushers"]] == ["laptop"]
