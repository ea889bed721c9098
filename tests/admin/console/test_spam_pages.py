"""Spam rules from the console: written, tried, enforced in part, explained, undone, and refused to who may not."""

from __future__ import annotations

import json
import re
from urllib.parse import quote

import pytest

from admin.console.policy_lists import is_about
from admin.console.rule_form import form_of, rule_in
from admin.spam.api import rule_from
from admin.spam.packs import PACKS
from admin.spam.rules import Action, Rule
from homeserver.core.errors import InvalidParam
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer
from tests.kit.until import until

RULE = {
    "id": "followers",
    "title": "Followers for sale",
    "when_event": "on",
    "condition": "event.text.contains('followers')",
    "kind_0": "deny",
    "reason_0": "No advertising",
    "stage": "enforced",
    "reason": "a wave of them",
}


@pytest.mark.parametrize("rule", [rule for pack in PACKS for rule in pack.rules], ids=lambda rule: rule.id)
def test_a_form_says_all_that_a_rule_says(rule: Rule) -> None:
    assert rule_from(rule_in(form_of(rule))) == rule


def test_a_form_keeps_what_each_action_needs() -> None:
    actions = (
        Action(kind="redact", minutes=30, reason="spam"),
        Action(kind="mask", pattern="AKIA[0-9A-Z]{16}"),
        Action(kind="notify", room_id="!mods:hansa.test"),
        Action(kind="mute", minutes=10),
    )
    rule = Rule(
        id="a", title="A", when=("event", "join"), condition="true", actions=actions, until_ms=4_102_444_740_000
    )
    assert rule_from(rule_in(form_of(rule))) == rule


@pytest.mark.parametrize("field", [{"percentage": "x"}, {"from": "tomorrow"}, {"kind_0": "explode"}])
def test_a_form_with_nonsense_is_refused(field: dict[str, str]) -> None:
    with pytest.raises(InvalidParam):
        rule_in({**RULE, **field})


@pytest.mark.parametrize(
    ("kind", "entity", "name", "about"),
    [
        ("user", "@spam*:evil.test", "@spam7:evil.test", True),
        ("user", "@spam*:evil.test", "@good:evil.test", False),
        ("server", "*.evil.test", "@a:mail.evil.test", True),
        ("server", "evil.test", "@a:good.test", False),
        ("room", "!a:evil.test", "!a:evil.test", True),
    ],
)
def test_entries_are_found_by_whom_they_keep_out(kind: str, entity: str, name: str, about: bool) -> None:
    assert is_about({"kind": kind, "entity": entity, "hash": ""}, name) is about


def test_a_hashed_entry_is_found_by_its_name() -> None:
    digest = "kBHCcTSWd2OLLzHhRvx/kRlyOhsO/9BH3lzLzFvSPmo"
    assert not is_about({"kind": "user", "entity": "", "hash": digest}, "@a:evil.test")


async def test_a_rule_from_its_first_word_to_its_end(server: RunningServer, crew: Crew) -> None:
    """Checked, saved, in force at once, explained, undone, rolled back, deleted; each with its audit entry."""
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/spam/new")
    wrong = await visitor.post("/admin/spam/rules", {**RULE, "condition": "event.nothing ==", "act": "save"})
    assert wrong.status == 400 and 'role="alert"' in visitor.page
    sample = {"sample": "Buy followers now", "act": "check"}
    assert (await visitor.post("/admin/spam/rules", {**RULE, **sample})).status == 200
    assert "It hits the message" in visitor.text()
    assert (await visitor.post("/admin/spam/rules", {**RULE, "sample": "Good day", "act": "check"})).status == 200
    assert "It doesn't hit the message" in visitor.text()
    saved = await visitor.post("/admin/spam/rules", {**RULE, "act": "save"})
    assert saved.headers["Location"] == "/admin/spam/rules/followers?done=rule_saved"

    room_id = await crew.user.create_room()
    said = await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, "1", body={"body": "Buy followers"})
    assert said.status == 403 and "No advertising" in said.json["error"]
    await visitor.get("/admin/spam/decisions?q=followers")
    found = re.search(r"/admin/spam/decisions/(\d+)", visitor.page)
    assert found
    decision = found[0]
    await visitor.get(decision)
    assert "buy followers" in visitor.text().lower() and crew.user.user_id in visitor.text()
    assert (await visitor.post(f"{decision}/undo", {"reason": " "})).status == 400
    await visitor.get(decision)
    assert (await visitor.post(f"{decision}/undo", {"reason": "a joke among friends"})).status == 303
    await visitor.get(decision)
    assert "a joke among friends" in visitor.text() and "Not spam" in visitor.text()

    await visitor.get("/admin/spam/rules/followers/edit")
    change = {**RULE, "is_known": "on", "version": "1", "act": "save", "title": "Followers", "reason": "shorter"}
    assert (await visitor.post("/admin/spam/rules", change)).status == 303
    late = await visitor.post("/admin/spam/rules", {**change, "title": "Too late"})
    assert late.status == 409 and "version 2 by now" in visitor.text()
    await visitor.get("/admin/spam/rules/followers")
    assert "<del><bdi>Followers for sale</bdi></del> → <ins><bdi>Followers</bdi></ins>" in visitor.page
    stage = {"stage": "shadow", "version": "2", "percentage": "10", "rooms": room_id, "reason": "to watch it"}
    assert (await visitor.post("/admin/spam/rules/followers/stage", stage)).status == 303
    assert (await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, "2", body=said_followers())).status == 200
    await visitor.get("/admin/spam/rules/followers")
    assert "<dt>stage</dt><dd><del><bdi>Enforced</bdi></del> → <ins><bdi>Shadow</bdi></ins></dd>" in visitor.page
    assert (await visitor.post("/admin/spam/rules/followers/rollback", {"version": "1", "reason": "b"})).status == 303
    await visitor.get("/admin/spam/rules/followers")
    assert "Followers for sale</bdi></h1>" in visitor.page
    assert (await visitor.post("/admin/spam/rules/followers/delete", {})).status == 303
    sql = "SELECT action FROM audit_log WHERE target = 'followers' ORDER BY entry_nid"
    acts = [row["action"] for row in await server.db.fetch(sql)]
    assert acts == ["rule.put", "rule.put", "rule.stage", "rule.rollback", "rule.delete"]


def said_followers() -> dict[str, str]:
    return {"msgtype": "m.text", "body": "Buy followers"}


async def test_a_trial_shows_what_a_rule_would_have_hit(server: RunningServer, crew: Crew) -> None:
    """Nothing is done; samples are marked, which makes the precision; an auditor sees counts and no texts."""
    room_id = await crew.user.create_room(name="Bazaar")
    event_id = await crew.user.send(room_id, "Buy followers here")
    await crew.user.send(room_id, "Good morning")
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/spam/new")
    await visitor.post("/admin/spam/rules", {**RULE, "stage": "draft", "act": "save"})
    await visitor.get("/admin/spam/rules/followers")
    begun = await visitor.post("/admin/spam/rules/followers/trials", {"days": "7"})
    where = begun.headers["Location"]

    async def is_done() -> bool:
        await visitor.get(where)
        return "Done" in visitor.page

    await until(is_done)
    assert event_id in visitor.text() and "buy followers here" in visitor.text().lower()
    marked = await visitor.post(f"{where}/mark", {"event_id": event_id, "is_spam": "yes"})
    assert marked.status == 303
    await visitor.get(where)
    assert "100 %" in visitor.text() and "spam: 1 of 1" in visitor.text()
    assert (await visitor.post(f"{where}/mark", {"event_id": "$other", "is_spam": "yes"})).status == 400
    auditor = await Visitor(server).log_in("the-auditor")
    await auditor.get(where)
    assert "Events looked at" in auditor.page and "Buy followers" not in auditor.page
    assert (await auditor.post(f"{where}/mark", {"event_id": event_id, "is_spam": "no"})).status == 403
    assert (await auditor.get("/admin/spam/rules/other/trials/" + where.rpartition("/")[2])).status == 404


async def test_lists_and_packs(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/spam/lists")
    made = await visitor.post("/admin/spam/lists", {"name": "bad", "kind": "words", "add": "casino\n赌场\ncasino"})
    assert made.headers["Location"] == "/admin/spam/lists/bad?done=list_saved"
    await visitor.post("/admin/spam/lists", {"name": "bad", "add": "poker", "remove": "casino"})
    await visitor.get("/admin/spam/lists/bad")
    assert "poker" in visitor.page and "赌场" in visitor.text() and "casino" not in visitor.page
    rows = json.loads((await visitor.get("/admin/spam/lists/bad?format=json")).body)
    assert {row["entry"] for row in rows} == {"poker", "赌场"}
    await visitor.get("/admin/spam/lists/bad")
    assert (await visitor.post("/admin/spam/lists", {"name": "new", "kind": "nonsense", "add": "x"})).status == 400
    await visitor.get("/admin/spam/lists/bad")
    assert (await visitor.post("/admin/spam/lists/bad/delete", {})).status == 303
    await visitor.get("/admin/spam/packs")
    pack = PACKS[0]
    assert (await visitor.post(f"/admin/spam/packs/{pack.name}", {})).status == 303
    await visitor.get("/admin/spam?state=shadow")
    assert all(rule.id in visitor.page for rule in pack.rules)
    rows = json.loads((await visitor.get("/admin/spam?format=json")).body)
    assert {row["id"] for row in rows} == {rule.id for rule in pack.rules}


async def test_a_list_of_our_own_keeps_people_out(server: RunningServer, crew: Crew) -> None:
    """Made, published, in force, found by whom it keeps out, taken back; never everybody at once."""
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/spam/policy")
    made = await visitor.post("/admin/spam/policy-new", {"name": "Our bans"})
    where = made.headers["Location"].partition("?")[0]
    await visitor.get(where)
    entry = {"kind": "user", "entity": crew.user.user_id, "reason": "spam", "act": "publish"}
    assert (await visitor.post(f"{where}/entry", {**entry, "entity": "@*:*"})).status == 400
    await visitor.get(where)
    assert (await visitor.post(f"{where}/entry", entry)).status == 303
    await visitor.get(where)
    assert crew.user.user_id in visitor.text() and "m.ban" in visitor.page
    room_id = await crew.owner.create_room(preset="public_chat")

    async def is_out() -> bool:
        return (await crew.user.post("/join/{}", room_id)).status == 403

    await until(is_out)
    await visitor.get(f"/admin/spam/policy?q={quote(crew.user.user_id)}")
    assert "Our bans" in visitor.page
    await visitor.get("/admin/spam/policy?q=%40other:hansa.test")
    assert "Our bans" not in visitor.page
    await visitor.get(where)
    assert (await visitor.post(f"{where}/entry", {**entry, "act": "withdraw", "reason": "sorry"})).status == 303

    async def is_in() -> bool:
        return (await crew.user.post("/join/{}", room_id)).status == 200

    await until(is_in)
    assert (await visitor.post(f"{where}/unfollow", {})).status == 303
    sql = "SELECT action FROM audit_log WHERE action LIKE 'policy_list.%' ORDER BY entry_nid"
    acts = [row["action"].partition(".")[2] for row in await server.db.fetch(sql)]
    assert acts == ["create", "publish", "withdraw", "unfollow"]


async def test_an_auditor_changes_no_rule(server: RunningServer, crew: Crew) -> None:
    """T-J2: every form of these pages is refused, and none is shown."""
    moderator, auditor = await Visitor(server).log_in("the-moderator"), await Visitor(server).log_in("the-auditor")
    await moderator.get("/admin/spam/new")
    await moderator.post("/admin/spam/rules", {**RULE, "act": "save"})
    for path in ("", "/rules/followers", "/decisions", "/lists", "/packs", "/policy"):
        assert (await auditor.get(f"/admin/spam{path}")).status == 200, path
        assert 'action="/admin/spam' not in auditor.page.replace('method="get" action', ""), path
    for path in ("/rules", "/rules/followers/stage", "/rules/followers/delete", "/lists", "/packs/links", "/policy"):
        assert (await auditor.post(f"/admin/spam{path}", {**RULE, "act": "save"})).status == 403, path
    assert (await auditor.get("/admin/spam/new")).status == 403
