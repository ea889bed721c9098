"""What the audit log's entries changed, as the console tells it: field by field, in words."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields as fields_of
from pathlib import Path
from typing import Any

import msgspec
import pytest

import admin
from admin.console.changes import changes, target_words
from admin.console.texts import may_say
from admin.console.trace_words import kept_reason
from admin.exporting.exporter import ExportWish
from admin.spam.rules import Action, Limits, Rule
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer

Side = Mapping[str, Any] | None


def told(before: Side, after: Side, language: str = "en") -> list[str]:
    old, new = (json.dumps(side) if side is not None else None for side in (before, after))
    return [f"{one.name}: {one.before} > {one.after}" for one in changes(old, new, language)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"locked": False}, {"locked": True}, ["locked: No > Yes"]),
        ({"stage": "shadow", "version": 2}, {"stage": "enforced", "version": 2}, ["stage: Shadow > Enforced"]),
        (None, {"room_id": "!a:b", "level": None, "until_ts": 5}, ["room: None > !a:b", "until: None > 5"]),
        ({"hold": "x", "kind": "user"}, None, ["hold: x > None", "kind: User > None"]),
        ({"assignee": None}, {"assignee": "@m:x"}, ["assigned to: – > @m:x"]),
        (
            {"limits": {"per_day": 5, "per_minute": 1}},
            {"limits": {"per_day": 6, "per_minute": 1}},
            ["brake · a day: 5 > 6"],
        ),
        (
            {"actions": [{"kind": "deny", "reason": "", "seconds": 60}]},
            {"actions": [{"kind": "hold", "reason": "look", "seconds": 0}]},
            [
                "actions: (kind Refuse; seconds 60) > (kind Hold for review; reason look; seconds 0)",
            ],
        ),
        ({"rooms": ["!a:b"]}, {"rooms": []}, ["rooms: !a:b > –"]),
        (None, {"org.example.own_words": "x"}, ["org.example.own words: None > x"]),
        (None, {"a": {"b": {"c": {"d": {"e": 1}}}}}, ["a · b · c · d: None > (e 1)"]),
        (None, None, []),
    ],
)
def test_changes_are_told_field_by_field(before: Side, after: Side, expected: list[str]) -> None:
    assert told(before, after) == expected


def test_changes_are_told_in_chinese() -> None:
    assert told({"role": None}, {"role": "moderator"}, "zh") == ["角色: – > 版主"]
    assert [one.is_time for one in changes(None, '{"expires_ts": 1800000000000, "count": 3}', "zh")] == [True, False]


@pytest.mark.parametrize(
    ("target", "english", "chinese"),
    [
        ("retention", "Retention", "保留期限"),
        ("retention !a:b", "Retention !a:b", "保留期限 !a:b"),
        ("storage", "Files of the database, index and archive", "数据库、索引与归档的文件"),
        ("@user:x", "@user:x", "@user:x"),
        ("", "", ""),
    ],
)
def test_targets_that_are_no_ids_have_words(target: str, english: str, chinese: str) -> None:
    assert (target_words(target, "en"), target_words(target, "zh")) == (english, chinese)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("no policy list of this room says so any more", "此房间的策略列表均不再列出"),
        ("rule wave, version 3", "规则 wave，版本 3"),
        ("its time is over", "期限已到"),
        ("it stopped itself: more than 20 actions in a minute", "已自动停止：一分钟内执行超过 20 次"),
        ("it answers 502 M_UNKNOWN", "返回 502 M_UNKNOWN"),
        ("unreachable: no connection: Connection refused", "无法连接：Connection refused"),
        # What people write stays.
        ("@bob:x is banned", "@bob:x is banned"),
        ("pack of lies", "pack of lies"),
        ("rule of thumb, version control", "rule of thumb, version control"),
    ],
)
def test_reasons_of_the_servers_own_are_said_in_chinese(english: str, chinese: str) -> None:
    assert kept_reason(english, "zh") == chinese
    assert kept_reason(english, "en") == english


_SIDES = frozenset({"before", "after", "was", "now", "said"})


def recorded(tree: ast.Module) -> Iterator[str]:
    """The fields that a module writes into the audit log, as far as they stand in it."""
    for node in ast.walk(tree):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Call):
            found = [one.value for one in node.keywords if one.arg in ("before", "after")]
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            found += node.args[1:] if name in ("recorded", "note") else []
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names = {one.id for one in targets if isinstance(one, ast.Name)}
            found = [node.value] if names & _SIDES else []
        for value in found:
            for inner in ast.walk(value) if value is not None else ():
                if isinstance(inner, ast.Dict):
                    yield from (str(key.value) for key in inner.keys if isinstance(key, ast.Constant))


def test_each_field_that_is_recorded_has_words() -> None:
    keys = {field.name for kind in (Rule, Action, Limits) for field in msgspec.structs.fields(kind)}
    keys |= {field.name for field in fields_of(ExportWish)}
    for folder in ("actions", "spam", "api"):
        for path in (Path(admin.__file__).parent / folder).rglob("*.py"):
            text = path.read_text()
            if any(word in text for word in ("entry_of", "AuditEntry", "recorded", "Recorded")):
                keys |= set(recorded(ast.parse(text)))
    assert {"erase", "membership", "uses_allowed", "until_ts", "how"} <= keys
    assert sorted(key for key in keys if not may_say(f"field_{key}")) == []


async def test_the_log_shows_fields_and_words(server: RunningServer, crew: Crew) -> None:
    path = "/_synapse/admin/v1/suspend/{}"
    (await crew.moderator.put(path, crew.user.user_id, body={"suspend": True})).ok()
    sql = "INSERT INTO unreachable_servers VALUES ('away.test', 1, 2000000000000, 3, 'timeout: no answer in time')"
    await server.db.execute(sql)
    visitor = await Visitor(server).log_in("owner")
    await visitor.get("/admin/audit?action=user.suspend")
    assert "suspended: <del><bdi>No</bdi></del> → <ins><bdi>Yes</bdi></ins>" in visitor.page
    assert '{"' not in visitor.page and "&#34;" not in visitor.page
    visitor.headers = {"Accept-Language": "zh"}
    await visitor.get("/admin/audit?action=user.suspend")
    assert "暂停: <del><bdi>否</bdi></del> → <ins><bdi>是</bdi></ins>" in visitor.page
    await visitor.get("/admin/federation")
    assert "超时：未及时响应" in visitor.page
