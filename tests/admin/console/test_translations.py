"""What the console says in Chinese where words come from data: traces, packs, jobs, decisions."""

from __future__ import annotations

import pytest

from admin.console.texts import TABLES, say
from admin.console.texts_packs import PACKS as RULE_TITLES
from admin.console.trace_words import told
from admin.spam.packs import PACKS
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


async def test_what_comes_from_data_is_said_in_chinese(server: RunningServer, crew: Crew) -> None:
    ids = await furnish(server, crew, "花园", await Visitor(server).log_in("owner"))
    visitor = await Visitor(server).log_in("the-admin")
    visitor.headers = {"Accept-Language": "zh"}
    for path, words in (
        (f"/admin/trace/{ids['event_id']}", ("在本服务器发送", "没有规则命中", "已接受")),
        (f"/admin/spam/decisions/{ids['decision_id']}", ("拒绝",)),
        ("/admin/spam/decisions", ("拒绝",)),
        ("/admin/spam/packs", ("同一用户邀请大量用户",)),
        ("/admin/jobs", ("规则试验", "保留期限预览")),
    ):
        assert (await visitor.get(path)).status == 200, path
        missing = [one for one in words if one not in visitor.page]
        assert not missing, (path, missing)
        assert "sent here" not in visitor.page, path
