"""Push rules over HTTP, stored as differences, told as account data."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from homeserver.core.push_rules import RULES_MAX
from tests.api.live import ALICE, BOB, Live, running_live

HIGHLIGHT = {"set_tweak": "highlight"}


@pytest.fixture
async def live(database_dsn: str) -> AsyncIterator[Live]:
    async with running_live(database_dsn) as parts:
        yield parts


async def rule_ids(live: Live, kind: str) -> list[str]:
    rules = (await live.ok(ALICE, "GET", "/pushrules/"))["global"][kind]
    return [rule["rule_id"] for rule in rules if not rule["default"]]


async def test_everybody_has_the_defaults(live: Live) -> None:
    every = await live.ok(ALICE, "GET", "/pushrules/")
    assert every["global"] == await live.ok(ALICE, "GET", "/pushrules/global/")
    assert every["global"]["override"][0]["rule_id"] == ".m.rule.master"
    mention = await live.ok(ALICE, "GET", "/pushrules/global/override/.m.rule.is_user_mention")
    assert mention["conditions"][0]["value"] == ALICE
    assert await live.db.fetchval("SELECT count(*) FROM push_rules") == 0


async def test_rules_are_added_changed_and_removed(live: Live) -> None:
    body = {"actions": ["notify", HIGHLIGHT], "pattern": "cake*lie"}
    await live.ok(ALICE, "PUT", "/pushrules/global/content/nocake", body)
    expected = {**body, "rule_id": "nocake", "enabled": True, "default": False}
    assert await live.ok(ALICE, "GET", "/pushrules/global/content/nocake") == expected
    await live.ok(ALICE, "PUT", "/pushrules/global/content/nocake/enabled", {"enabled": False})
    assert await live.ok(ALICE, "GET", "/pushrules/global/content/nocake/enabled") == {"enabled": False}
    await live.ok(ALICE, "PUT", "/pushrules/global/content/nocake/actions", {"actions": ["dont_notify"]})
    assert await live.ok(ALICE, "GET", "/pushrules/global/content/nocake/actions") == {"actions": ["dont_notify"]}
    assert [rule["default"] for rule in (await live.ok(BOB, "GET", "/pushrules/global"))["content"]] == [True]
    await live.ok(ALICE, "DELETE", "/pushrules/global/content/nocake")
    assert (await live.call(ALICE, "GET", "/pushrules/global/content/nocake"))[0] == 404


async def test_places_of_rules(live: Live) -> None:
    """T-H3: after the last, before the first, relative to what isn't there."""

    async def put(rule_id: str, query: str = "") -> int:
        return (await live.call(ALICE, "PUT", f"/pushrules/global/override/{rule_id}{query}", {"actions": []}))[0]

    assert await put("a", "?after=nothing") == 400
    assert await put("a") == await put("b", "?after=a") == await put("c", "?before=a") == await put("d") == 200
    assert await rule_ids(live, "override") == ["d", "c", "a", "b"]
    assert await put("x", "?after=.m.rule.master") == 400
    assert await put("d", "?after=b") == 200
    assert await rule_ids(live, "override") == ["c", "a", "b", "d"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "errcode"),
    [
        ("GET", "override/nothing", None, 404, "M_NOT_FOUND"),
        ("GET", "elsewhere/nothing", None, 404, "M_NOT_FOUND"),
        ("PUT", "elsewhere/nothing", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("DELETE", "override/nothing", None, 404, "M_NOT_FOUND"),
        ("DELETE", "override/.m.rule.master", None, 400, "M_INVALID_PARAM"),
        ("PUT", "override/.mine", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "override/a%2Fb", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "override/a%5Cb", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "override/a", {}, 400, "M_MISSING_PARAM"),
        ("PUT", "override/a", {"actions": "notify"}, 400, "M_INVALID_PARAM"),
        ("PUT", "content/a", {"actions": []}, 400, "M_INVALID_PARAM"),
        ("PUT", "override/a/enabled", {"enabled": True}, 404, "M_NOT_FOUND"),
        ("PUT", "override/.m.rule.master/enabled", {}, 400, "M_MISSING_PARAM"),
        ("PUT", "override/.m.rule.master/enabled", {"enabled": 1}, 400, "M_INVALID_PARAM"),
        ("PUT", "underride/a/actions", {"actions": []}, 404, "M_NOT_FOUND"),
    ],
)
async def test_refusals(live: Live, method: str, path: str, body: Any, status: int, errcode: str) -> None:
    got, answer = await live.call(ALICE, method, f"/pushrules/global/{path}", body)
    assert (got, answer["errcode"]) == (status, errcode)
    assert await live.db.fetchval("SELECT count(*) FROM push_rules") == 0


async def test_changes_are_told_as_account_data_and_only_once(live: Live) -> None:
    live.heard.clear()
    for _ in range(2):
        await live.ok(ALICE, "PUT", "/pushrules/global/override/.m.rule.master/enabled", {"enabled": True})
    assert [(entry.kind, entry.user_ids) for entry in live.heard] == [("account_data", (ALICE,))]
    content, position = await live.rulesets.as_account_data(ALICE)
    assert content["global"]["override"][0]["enabled"] is True
    assert position == live.journal.visible - 1 or position == live.heard[0].position
    assert (await live.rulesets.as_account_data(BOB))[1] == 0


async def test_rules_survive_a_restart_as_a_difference(database_dsn: str) -> None:
    async with running_live(database_dsn) as live:
        await live.ok(ALICE, "PUT", "/pushrules/global/override/.m.rule.reaction/enabled", {"enabled": False})
        stored = json.loads(await live.db.fetchval("SELECT changes FROM push_rules"))
        assert len(stored["changed"]) == 1 and not stored["rules"]
    async with running_live(database_dsn) as live:
        reaction = await live.ok(ALICE, "GET", "/pushrules/global/override/.m.rule.reaction")
        assert reaction["enabled"] is False


async def test_rules_are_capped(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-H2: number and size."""
    monkeypatch.setattr("homeserver.core.push_rules.RULES_MAX", 3)
    for index in range(3):
        await live.ok(ALICE, "PUT", f"/pushrules/global/sender/@u{index}:a.b", {"actions": []})
    assert (await live.call(ALICE, "PUT", "/pushrules/global/sender/@x:a.b", {"actions": []}))[0] == 400
    big = {"actions": [], "conditions": [{"kind": "event_match", "key": "k" * 70_000, "pattern": "x"}]}
    assert (await live.call(BOB, "PUT", "/pushrules/global/override/big", big))[0] == 413
    assert RULES_MAX == 2_000


async def test_globs_take_linear_time(live: Live) -> None:
    """T-H1: a pattern that would be exponential for a backtracking matcher."""
    room = await live.room(ALICE, BOB)
    body = {"actions": ["notify", HIGHLIGHT], "pattern": "*a" * 60 + "*b"}
    await live.ok(BOB, "PUT", "/pushrules/global/content/slow", body)
    await live.say(ALICE, room, body="a" * 20_000)
    counts = await live.unread_of(BOB, room)
    assert (counts.notifications, counts.highlights) == (1, 0)


async def test_pattern_rules_in_two_requests_at_once(live: Live) -> None:
    """T-H7: one change at a time for each user: none is lost."""
    import asyncio

    puts = [live.ok(ALICE, "PUT", f"/pushrules/global/room/!r{index}:a.b", {"actions": []}) for index in range(4)]
    await asyncio.gather(*puts)
    assert len(await rule_ids(live, "room")) == 4
