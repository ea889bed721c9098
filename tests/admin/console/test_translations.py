"""What the console says in Chinese where words come from data: traces, packs, jobs, decisions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import admin
import federation
import homeserver
from admin.audit_actions import ACTIONS
from admin.console.texts import TABLES, may_say, rule_title, say
from admin.console.texts_jobs import PLACES, shown
from admin.console.texts_packs import PACKS as RULE_TITLES
from admin.console.trace_words import fault, finding, note_words, told
from admin.spam.packs import PACKS
from homeserver.config.schema import Act
from homeserver.core import auth_rules
from tests.admin.console.furnished import furnish
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer


def test_no_text_stands_in_place_of_another() -> None:
    keys = [key for table in TABLES for key in table]
    assert sorted(keys) == sorted(set(keys))


def test_each_rule_of_a_pack_has_a_title_in_each_language() -> None:
    titles = {f"pack_rule_{rule.id}": rule.title for pack in PACKS for rule in pack.rules}
    assert {key: english for key, (english, _) in RULE_TITLES.items()} == titles
    assert all(say(key, "zh", {}) != title for key, title in titles.items())


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("sent here", "在本服务器发送"),
        ("from other.example", "来自 other.example"),
        ("rejected: no power: 0 < 50", "被拒绝：no power: 0 < 50"),
        ("by a.example ed25519:1; by the policy server b.example", "a.example ed25519:1；策略服务器 b.example"),
        ("to @a:b.example waits, after 3 failures", "发给 @a:b.example 的通知在等待，已失败 3 次"),
        ("b.example hasn't got it: it refused {0}", "b.example 尚未收到：it refused {0}"),
        ("words that nobody knows", "words that nobody knows"),
    ],
)
def test_a_traces_words_in_chinese(english: str, chinese: str) -> None:
    assert told(english, "zh") == chinese
    assert told(english, "en") == english


SOURCES = Path(admin.__file__).parent


def parsed(folder: Path) -> Iterator[ast.Module]:
    for path in folder.rglob("*.py"):
        yield ast.parse(path.read_text())


def test_each_act_of_the_audit_log_has_words() -> None:
    """What isn't among these acts can't be recorded: the types say so."""
    assert [one for one in ACTIONS if not may_say(f"audit_{one}")] == []
    assert [one for one in get_args(Act) if not may_say(f"act_{one}")] == []


def test_each_kind_of_job_has_words() -> None:
    kinds: dict[str, str] = {}
    for tree in parsed(SOURCES):
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name) and isinstance(node.value.value, str)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "begin":
                name = node.args[0] if len(node.args) > 2 else None
                if isinstance(name, ast.Name) and name.id in constants:
                    kinds[constants[name.id]] = name.id
    assert len(kinds) >= 8
    assert [kind for kind in kinds if not may_say(f"job_{kind}")] == []


def noted(tree: ast.Module) -> Iterator[str]:
    """The keys that a job writes into its progress."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Subscript) and is_progress(node.value) and isinstance(node.slice, ast.Constant):
            yield str(node.slice.value)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and is_progress(node.func.value):
            if node.func.attr == "setdefault" and isinstance(node.args[0], ast.Constant):
                yield str(node.args[0].value)
            if node.func.attr == "update":
                yield from (one.arg for one in node.keywords if one.arg is not None)


def is_progress(node: ast.expr) -> bool:
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name == "progress" or name == "done"


def test_each_key_of_a_jobs_progress_has_words() -> None:
    keys = {key for tree in [*parsed(SOURCES / "actions"), *parsed(SOURCES / "spam")] for key in noted(tree)}
    assert {"events", "kicked_users", "of", "tables"} <= keys
    assert [key for key in keys - PLACES if not may_say(f"progress_{key}")] == []


def test_progress_is_a_part_of_the_whole_and_counts() -> None:
    said = shown({"at": 40, "of": 80, "hits": 1234, "by_room": {"!a:x": 1}, "deactivated": True, "new_room_id": None})
    assert said == [
        ("progress_part", "50 %"),
        ("progress_hits", "1,234"),
        ("progress_by_room", "1"),
        ("progress_deactivated", True),
    ]


def test_each_reason_of_the_authorisation_rules_is_said_in_chinese() -> None:
    reasons = []
    for tree in parsed(Path(auth_rules.__file__).parent):
        for node in ast.walk(tree):
            func = node.func if isinstance(node, ast.Call) else None
            name = func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""
            if isinstance(node, ast.Call) and name.startswith("refuse") and node.args:
                text = node.args[-1]
                if isinstance(text, ast.Constant):
                    reasons.append(str(text.value))
                elif isinstance(text, ast.JoinedStr):
                    parts = (one.value if isinstance(one, ast.Constant) else "7" for one in text.values)
                    reasons.append("".join(map(str, parts)))
    assert len(reasons) > 40
    assert [one for one in reasons if told(one, "zh") == one] == []
    assert told("rejected: @a:x is banned (rule 5.2)", "zh") == "被拒绝：@a:x 已被封禁（规则 5.2）"


_SAID = frozenset(
    {"InvalidParam", "NotFound", "Forbidden", "MatrixError", "Unavailable", "WrongRule", "WrongCondition"}
)
_SPAM = (
    "api.py",
    "book.py",
    "conditions.py",
    "rules.py",
    "policy_lists.py",
    "publishing.py",
    "reviewing.py",
    "appeals.py",
)


def faults() -> Iterator[str]:
    """What the console's pages, and the acts behind them, answer where they do nothing."""
    paths = [*(SOURCES / "console").glob("*.py"), *(SOURCES / "actions").glob("*.py"), SOURCES / "jobs.py"]
    paths += [SOURCES / "given.py", SOURCES / "room_hand.py", *(SOURCES / "spam" / name for name in _SPAM)]
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _SAID and node.args:
                text = node.args[0]
                if isinstance(text, ast.Constant):
                    yield str(text.value)
                elif isinstance(text, ast.JoinedStr):
                    yield "".join(str(one.value) if isinstance(one, ast.Constant) else "7" for one in text.values)


def test_each_fault_is_said_in_chinese() -> None:
    found = set(faults())
    assert len(found) > 145
    assert sorted(one for one in found if fault(one, "zh") == one) == []
    assert fault("there is no such list", "en") == "there is no such list"


async def test_what_is_wrong_with_a_rule_is_said_in_chinese(server: RunningServer, crew: Crew) -> None:
    """What the language's library says of it stays as it is."""
    visitor = await Visitor(server).log_in("the-admin")
    visitor.headers = {"Accept-Language": "zh"}
    await visitor.get("/admin/spam/new")
    rule = {"id": "one", "title": "One", "when_event": "on", "kind_0": "deny", "act": "check"}
    for condition, words in (
        ("event.nothing == 1", "event 没有 'nothing'：可用的有 type, state_key"),
        ("event.length", "'event.length' 须为 true 或 false，实际为 5"),
        ("event.length ==", "无法读取条件："),
        ("event.text > 5", "无法计算 'event.text > 5'："),
        ('event.text.re2("(")', "无法计算 'event.text.re2(\"(\")'："),
    ):
        assert (await visitor.post("/admin/spam/rules", {**rule, "condition": condition})).status == 400, condition
        assert words in visitor.text(), condition


def said_by(node: ast.expr) -> Iterator[str]:
    """A text of the source; what differs in it is 7."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(str(one.value) if isinstance(one, ast.Constant) else "7" for one in node.values)


_FOUND = frozenset({"well", "warning", "failed", "skipped"})
_WHY = frozenset({"NotFound", "BadKeys", "DnsFault", "NoConnection", "OutgoingError", "ValueError", "_fault"})
_NAMES = frozenset({".well-known", "SRV"})


def findings() -> Iterator[str]:
    """What a check of federation may find, with why there was no answer."""
    federation_root, homeserver_root = Path(federation.__file__).parent, Path(homeserver.__file__).parent
    checks = [federation_root / "check.py", SOURCES / "console" / "federation.py"]
    reasons = [federation_root / "discovery.py", federation_root / "keys" / "documents.py"]
    reasons += [homeserver_root / "web" / "dns.py", homeserver_root / "web" / "outgoing.py"]
    reasons.append(homeserver_root / "runtime" / "tls_probe.py")
    for path, callees in [*((one, _FOUND) for one in checks), *((one, _WHY) for one in reasons)]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in callees:
                texts = node.args[1:] if node.func.id == "OutgoingError" else node.args
            elif isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") in ("hint", "text", "_STEPS"):
                texts = node.value.values if isinstance(node.value, ast.Dict) else [node.value]
            else:
                continue
            for text in texts:
                yield from said_by(text)


def test_each_finding_of_a_check_is_said_in_chinese() -> None:
    found = {one for one in findings() if any(letter.isalpha() for letter in one)} - _NAMES
    assert len(found) > 75
    assert sorted(one for one in found if finding(one, "zh") == one) == []
    assert finding("settings", "en") == "settings"


@pytest.mark.parametrize(
    ("english", "chinese"),
    [
        ("a.test, port 443 (step 4: by its SRV record)", "a.test，端口 443（步骤 4：按其 SRV 记录）"),
        ("there is none (the page answers 404); SRV records are next", "没有（页面返回 404）；接下来查询 SRV 记录"),
        (
            "::1: no answer in 5 s; 10.0.0.1: certificate has expired",
            "::1：5 秒内未响应；10.0.0.1：certificate has expired",
        ),
        ("ed25519:a, signed by themselves; 2 old; no longer valid", "ed25519:a，由自身签名；2 个旧密钥；已失效"),
        ("/_matrix/key/v2/server: no answer in time", "/_matrix/key/v2/server：未及时响应"),
        ("Synapse 1.2", "Synapse 1.2"),
        ("a: " * 90 + "b", "a：" * 5 + "a: " * 85 + "b"),
    ],
)
def test_findings_within_findings(english: str, chinese: str) -> None:
    """A stranger's words can't make it go on for long."""
    assert finding(english, "zh") == chinese


async def test_a_servers_check_is_told_in_chinese(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-admin")
    visitor.headers = {"Accept-Language": "zh"}
    await visitor.get("/admin/federation")
    assert (await visitor.post("/admin/federation/check", {"server_name": "127.0.0.1:9"})).status == 200
    said = visitor.text()
    assert "127.0.0.1，端口 9（步骤 1：名称是地址）" in said and "不允许连接到 127.0.0.1" in said
    assert "may" not in said and "加入 `federation.allow_ip_ranges`" in said


async def test_what_cannot_be_done_is_said_in_chinese(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-moderator")
    visitor.headers = {"Accept-Language": "zh"}
    assert (await visitor.get("/admin/spam/lists/none")).status == 404
    assert "没有该名单" in visitor.page
    assert (await visitor.get("/admin/audit")).status == 403
    assert "您的角色（moderator）没有 read_audit 权限" in visitor.page


def test_what_came_of_acts_on_a_case_is_said_in_chinese() -> None:
    text = "redact: 2 of 3 (a legal hold keeps this)\nban: 3 of 3 rooms\nsuspend: done\nredact_all: job aBc"
    text += "\nrelease: 4 files"
    assert note_words(text, "zh").split("\n") == [
        "撤回被举报的消息：2 / 3（受法律保留）",
        "在这些房间封禁：3 / 3 个房间",
        "暂停账户：已完成",
        "撤回其全部消息：任务 aBc",
        "解除文件隔离：4 个文件",
    ]
    assert note_words("block: not done: this account was deactivated", "zh") == "屏蔽房间：未完成：此账户已停用"
    for written in ("Look at this: done", "ban: two of us", text.replace("redact", "Redact")[:10]):
        assert note_words(written, "zh") == written
    assert note_words(text, "en") == text


def test_a_rules_verdict_is_said_in_words() -> None:
    assert told("casino v1 (shadow): deny,redact", "en") == "casino v1 (Shadow): Refuse, Redact"
    assert told("casino v1 (enforced): deny, undone since", "zh") == "casino v1 (执行中): 拒绝; 已撤销"


def test_a_rule_of_a_pack_is_called_in_each_language_until_it_is_renamed() -> None:
    assert rule_title("join-wave", "More than 20 joins a minute", "zh") == "每分钟超过 20 人加入"
    assert rule_title("join-wave", "Mine", "zh") == "Mine"


async def test_what_comes_from_data_is_said_in_chinese(server: RunningServer, crew: Crew) -> None:
    ids = await furnish(server, crew, "花园", await Visitor(server).log_in("owner"))
    visitor = await Visitor(server).log_in("the-admin")
    visitor.headers = {"Accept-Language": "zh"}
    for path, words in (
        (f"/admin/trace/{ids['event_id']}", ("在本服务器发送", "没有规则命中", "已接受")),
        (f"/admin/spam/decisions/{ids['decision_id']}", ("拒绝",)),
        ("/admin/spam/decisions", ("拒绝",)),
        ("/admin/spam/packs", ("同一用户邀请大量用户",)),
        ("/admin/jobs", ("规则试验", "保留期限预览", "已检查")),
        ("/admin/audit", ("登录控制台", "保存规则")),
    ):
        assert (await visitor.get(path)).status == 200, path
        missing = [one for one in words if one not in visitor.page]
        assert not missing, (path, missing)
        assert "sent here" not in visitor.page, path
