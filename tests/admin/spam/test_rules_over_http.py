"""Rules made over HTTP act on what people send, are explained afterwards, and can be undone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

SPAM = "/_hansa/admin/v1/spam"
RULE = SPAM + "/rules/{}"


def rule(condition: str, *actions: dict[str, Any], when: tuple[str, ...] = ("event",), **fields: Any) -> dict[str, Any]:
    return {
        "title": "a rule",
        "when": list(when),
        "condition": condition,
        "actions": list(actions) or [{"kind": "deny", "reason": "no adverts"}],
        "stage": "enforced",
        "limits": {"share_max": 1.0},
        **fields,
    }


async def put(crew: Crew, name: str, body: dict[str, Any], version: int = 1) -> dict[str, Any]:
    answer = (await crew.moderator.put(RULE, name, body={"rule": {**body, "version": version}})).ok()
    made: dict[str, Any] = answer["rule"]
    return made


async def latest(crew: Crew, **query: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await crew.auditor.get(SPAM + "/decisions", **query)).ok()["decisions"]
    return found


async def say(client: Client, room_id: str, text: str) -> Any:
    return await client.put(
        "/rooms/{}/send/m.room.message/{}", room_id, text[:50], body={"msgtype": "m.text", "body": text}
    )


async def test_a_rule_refuses_and_is_explained(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "adverts", rule('event.text.contains("Cheap pills") && sender.age_s < 3600'))
    (await say(crew.user, room_id, "good morning")).ok()
    refused = (await say(crew.user, room_id, "сhеаp\u200b  ＰＩＬＬＳ here")).refused(403, "M_FORBIDDEN")
    assert refused["error"].startswith("no adverts (to appeal: ")
    [decision] = await latest(crew)
    assert (decision["rule_id"], decision["stage"], decision["sender"]) == ("adverts", "enforced", crew.user.user_id)
    explained = (await crew.auditor.get(SPAM + "/decisions/{}", str(decision["decision_id"]))).ok()
    assert explained["decision"]["seen"]["event.text"] == "cheap pills here"
    assert explained["decision"]["seen"]["sender.age_s"] < 3600
    assert explained["rule"]["version"] == 1


async def test_stages_versions_and_rolling_back(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    made = await put(crew, "word", rule('event.text.contains("zebra")', stage="draft"))
    (await say(crew.user, room_id, "zebra 1")).ok()
    assert await latest(crew) == []
    stage = SPAM + "/rules/{}/stage"
    (await crew.moderator.post(stage, "word", body={"stage": "shadow", "version": made["version"]})).ok()
    (await say(crew.user, room_id, "zebra 2")).ok()
    assert [one["stage"] for one in await latest(crew)] == ["shadow"]
    (await crew.moderator.post(stage, "word", body={"stage": "enforced", "version": 1})).refused(409, "M_UNKNOWN")
    (await crew.moderator.post(stage, "word", body={"stage": "enforced", "version": 2})).ok()
    (await say(crew.user, room_id, "zebra 3")).refused(403, "M_FORBIDDEN")
    shown = (await crew.auditor.get(RULE, "word")).ok()
    assert [one["changed"] for one in shown["versions"]] == [
        {},
        {"stage": ["draft", "shadow"]},
        {"stage": ["shadow", "enforced"]},
    ]
    (await crew.moderator.post(SPAM + "/rules/{}/rollback", "word", body={"version": 1})).ok()
    (await say(crew.user, room_id, "zebra 4")).ok()
    (await crew.moderator.delete(RULE, "word")).ok()
    (await crew.moderator.delete(RULE, "word")).refused(404, "M_NOT_FOUND")
    actions = (await crew.auditor.get("/_hansa/admin/v1/audit", target="word")).ok()["entries"]
    assert [one["action"] for one in actions] == [
        "rule.delete",
        "rule.rollback",
        "rule.stage",
        "rule.stage",
        "rule.put",
    ]


@pytest.mark.parametrize(
    ("condition", "hint"),
    [
        ("event.nothing == 1", "event has no 'nothing'"),
        ("1 + 1", "must be true or false"),
        ('event.text.matches("(a+)+$")', "re2"),
        ("event.links.exists(a, event.links.exists(b, a == b))", "within a list"),
        ("(" * 40 + "true" + ")" * 40, "deep"),
        ("sender.age_s < ", "can't be read"),
        ('event.text.re2("(")', "can't be evaluated"),
        ("true || " * 800 + "true", "4000 characters"),
        ('event.length > "5"', "can't be evaluated"),
    ],
)
async def test_conditions_are_checked_before_they_are_kept(
    server: RunningServer, crew: Crew, condition: str, hint: str
) -> None:
    """T-H1: no expression from anybody takes more than linear time."""
    answer = await crew.moderator.put(RULE, "bad", body={"rule": rule(condition)})
    assert hint in answer.refused(400, "M_INVALID_PARAM")["error"]
    assert (await crew.auditor.get(SPAM + "/rules")).ok() == {"rules": []}


@pytest.mark.parametrize(
    ("fields", "hint"),
    [
        ({"from_ms": 2_000, "until_ms": 1_000}, "until_ms must be after from_ms"),
        ({"until_ms": -1}, "until_ms must be after from_ms"),
        ({"rooms": ["!a:hansa.test", "#b:hansa.test"]}, "'#b:hansa.test'"),
        ({"limits": {"per_minute": -1}}, "limits.per_minute"),
        ({"percentage": 101}, "percentage"),
    ],
)
async def test_a_rule_that_could_never_act_is_refused(
    server: RunningServer, crew: Crew, fields: dict[str, Any], hint: str
) -> None:
    """Or its makers believed that it does."""
    answer = await crew.moderator.put(RULE, "never", body={"rule": rule("true", **fields)})
    assert hint in answer.refused(400, "M_INVALID_PARAM")["error"]


async def test_rules_act_in_their_time_and_rooms(server: RunningServer, crew: Crew) -> None:
    """A schedule, some rooms, no percent of senders; each a version, with what changed, that can be gone back to."""
    here, there = await crew.user.create_room(), await crew.user.create_room()
    now_ms = int(time.time() * 1000)
    zebras = 'event.text.contains("zebra")'
    stage, back = RULE + "/stage", RULE + "/rollback"

    async def is_refused(room_id: str, text: str) -> bool:
        return bool((await say(crew.user, room_id, f"zebra {text}")).status == 403)

    await put(crew, "zebras", rule(zebras, from_ms=now_ms + 3_600_000))
    assert not await is_refused(here, "too early")
    await put(crew, "zebras", rule(zebras, until_ms=now_ms), version=1)
    assert not await is_refused(here, "too late")
    await put(crew, "zebras", rule(zebras, from_ms=now_ms, until_ms=now_ms + 3_600_000), version=2)
    assert await is_refused(here, "in time")
    (await crew.moderator.post(stage, "zebras", body={"stage": "enforced", "version": 3, "rooms": [there]})).ok()
    assert not await is_refused(here, "elsewhere")
    assert await is_refused(there, "named")
    (await crew.moderator.post(stage, "zebras", body={"stage": "enforced", "version": 4, "percentage": 0})).ok()
    assert not await is_refused(there, "nobody")
    (await crew.moderator.post(back, "zebras", body={"version": 3, "why": "a\x00b"})).refused(400, "M_BAD_JSON")
    (await crew.moderator.post(back, "zebras", body={"version": 3, "why": "a\nb"})).ok()
    assert await is_refused(here, "again")
    *_, fourth, fifth, sixth = (await crew.auditor.get(RULE, "zebras")).ok()["versions"]
    assert (fourth["changed"], fifth["changed"]) == ({"rooms": [[], [there]]}, {"percentage": [100, 0]})
    assert sixth["changed"] == {"rooms": [[there], []], "percentage": [0, 100]}
    assert (sixth["made_by"], sixth["why"]) == (crew.moderator.user_id, "a\nb")


async def test_only_those_who_may_change_rules(server: RunningServer, crew: Crew) -> None:
    body = {"rule": rule("true")}
    for client in (crew.auditor, crew.user):
        (await client.put(RULE, "x", body=body)).refused(403, "M_FORBIDDEN")
    (await server.anonymous().put(RULE, "x", body=body)).refused(401, "M_MISSING_TOKEN")
    (await crew.user.get(SPAM + "/decisions")).refused(403, "M_FORBIDDEN")


async def test_secrets_are_masked_before_they_are_sent(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    (await crew.moderator.post(SPAM + "/packs/secrets")).ok()
    for name in ("mask-aws-key", "mask-token", "mask-card"):
        (await crew.moderator.post(SPAM + "/rules/{}/stage", name, body={"stage": "enforced", "version": 1})).ok()
    event_id = (await say(crew.user, room_id, "key AKIAABCDEFGHIJKLMNOP, card 4111 1111 1111 1111")).ok()["event_id"]
    event = (await crew.user.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    assert event["content"] == {"msgtype": "m.text", "body": "key •••, card •••"}


async def test_held_messages_are_sent_once_they_are_let_through(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "hold", rule('"example.com" in event.domains', {"kind": "hold"}))
    refused = (await say(crew.user, room_id, "see https://www.Example.com/x")).refused(403, "M_FORBIDDEN")
    code = refused["error"].rsplit(" ", 1)[-1].rstrip(")")
    appeals = "/_hansa/client/v1/appeals"
    (await crew.admin.post(appeals, body={"code": code, "text": "mine"})).refused(404, "M_NOT_FOUND")
    (await crew.user.post(appeals, body={"code": code, "text": "it is my own page"})).ok()
    (await crew.user.post(appeals, body={"code": code, "text": "again"})).refused(404, "M_NOT_FOUND")
    [decision] = await latest(crew, appealed="true")
    assert decision["appeal"] == "it is my own page"
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    event_id = (await crew.moderator.post(*undo, body={"why": "fine"})).ok()["event_id"]
    event = (await crew.user.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    assert (event["sender"], event["content"]["body"]) == (crew.user.user_id, "see https://www.Example.com/x")
    (await crew.moderator.post(*undo, body={})).refused(409, "M_UNKNOWN")


async def test_what_follows_is_done_and_undone(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    room_id = await crew.user.create_room(preset="public_chat")
    await mallory.join(room_id)
    earlier = await mallory.send(room_id, "harmless")
    actions = (
        {"kind": "redact", "minutes": 5, "reason": "spam"},
        {"kind": "ban"},
        {"kind": "suspend"},
        {"kind": "report"},
    )
    await put(crew, "out", rule('event.text.contains("buy now")', *actions))
    event_id = await mallory.send(room_id, "Buy   now")

    async def all_done() -> bool:
        rows = await server.db.fetch("SELECT target FROM reports")
        return [row["target"] for row in rows] == [event_id]

    await until(all_done)
    for target in (earlier, event_id):
        event = (await crew.user.get("/rooms/{}/event/{}", room_id, target)).ok()
        assert event["content"] == {}
    member = "/rooms/{}/state/m.room.member/{}"
    assert (await crew.user.get(member, room_id, mallory.user_id)).ok()["membership"] == "ban"
    [decision] = await latest(crew, sender=mallory.user_id)
    undo = (SPAM + "/decisions/{}/undo", str(decision["decision_id"]))
    assert (await crew.moderator.post(*undo, body={})).ok()["undone"] == ["ban", "suspend"]
    await mallory.join(room_id)


async def test_a_rule_that_matches_everything_stops_itself(server: RunningServer, crew: Crew) -> None:
    """A brake by the share of traffic, and it shows."""
    room_id = await crew.user.create_room()
    await put(crew, "all", rule("true", {"kind": "tag"}, limits={"share_max": 0.3, "per_minute": 20}))
    for number in range(25):
        (await say(crew.user, room_id, f"message {number}")).ok()
    await latest(crew)
    [shown] = (await crew.auditor.get(SPAM + "/rules")).ok()["rules"]
    assert shown["stage"] == "shadow"
    [_, stopped] = (await crew.auditor.get(RULE, "all")).ok()["versions"]
    assert (stopped["made_by"], stopped["why"]) == ("hansa", "it stopped itself: more than 20 actions in a minute")


async def test_administrators_and_protected_users_are_never_hit(server: RunningServer, crew: Crew) -> None:
    await put(crew, "all", rule("true", when=("event", "create_room")))
    await crew.owner.create_room()
    (await crew.user.post("/createRoom", body={})).refused(400, "M_INVALID_ROOM_STATE")
    body = {"kind": "users", "entries": [crew.user.user_id]}
    (await crew.moderator.put(SPAM + "/lists/{}", "protected-people", body=body)).ok()
    await crew.user.create_room()


async def test_a_list_that_a_rule_asks_for_stays(server: RunningServer, crew: Crew) -> None:
    """T-J15: without it the rule would stand in force and hit nothing, and nobody would be told."""
    path = SPAM + "/lists/{}"
    body = {"kind": "words", "entries": ["zebra"]}
    for name in ("bad-words", "other"):
        (await crew.moderator.put(path, name, body=body)).ok()
    made = await put(crew, "listed", rule('event.lists.exists(one, one == "bad-words")'))
    refused = (await crew.moderator.delete(path, "bad-words")).refused(400, "M_INVALID_PARAM")
    assert "the rule listed asks for this list" in refused["error"]
    (await crew.moderator.delete(path, "other")).ok()
    draft = {"stage": "draft", "version": made["version"]}
    (await crew.moderator.post(SPAM + "/rules/{}/stage", "listed", body=draft)).ok()
    (await crew.moderator.delete(path, "bad-words")).ok()


async def test_rules_are_tried_on_examples_without_effect(server: RunningServer, crew: Crew) -> None:
    tried = {
        "rule": rule("rates.text_rooms_10m > 2"),
        "samples": [{"content": {"body": "join my channel"}, "room_id": f"!{n}:x.org"} for n in range(4)],
    }
    results = (await crew.auditor.post(SPAM + "/try", body=tried)).ok()["results"]
    assert [one["hit"] for one in results] == [False, False, True, True]
    assert results[2]["seen"]["rates.text_rooms_10m"] == 3
    assert await latest(crew) == []


async def test_shadowed_messages_go_nowhere(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room()
    await put(crew, "quiet", rule('event.text.contains("zebra")', {"kind": "shadow"}))
    first = (await say(crew.user, room_id, "zebra")).ok()["event_id"]
    (await crew.user.get("/rooms/{}/event/{}", room_id, first)).refused(404, "M_NOT_FOUND")
    event_id = (await say(crew.user, room_id, "horse")).ok()["event_id"]
    page = (await crew.user.get("/rooms/{}/messages", room_id, dir="b", limit="5")).ok()
    assert [one["event_id"] for one in page["chunk"] if one["type"] == "m.room.message"] == [event_id]
    assert [one["outcome"] for one in await latest(crew)] == ["shadow"]


async def test_a_rule_that_fails_is_isolated(server: RunningServer, crew: Crew) -> None:
    """Its faults are no fault of the messages; time and again, it goes to shadow, and the version says why."""
    room_id = await crew.user.create_room()
    await put(crew, "first-link", rule('event.links[0] == "https://evil.example"'))
    for number in range(6):
        (await say(crew.user, room_id, f"no link {number}")).ok()
    await latest(crew)
    [_, stopped] = (await crew.auditor.get(RULE, "first-link")).ok()["versions"]
    assert (stopped["made_by"], stopped["rule"]["stage"]) == ("hansa", "shadow")
    assert stopped["why"].startswith("it stopped itself: it failed time and again")
    await put(crew, "closed", rule('event.links[0] == "https://evil.example"', fails_closed=True))
    (await say(crew.user, room_id, "no link again")).refused(403, "M_FORBIDDEN")


async def test_halves_of_surrogates_fail_no_rule(server: RunningServer, crew: Crew) -> None:
    """T-B16: what no text may hold can't switch a rule off."""
    room_id = await crew.user.create_room()
    await put(crew, "adverts", rule('event.text.contains("pills")', fails_closed=True))
    for number in range(7):
        body = {"msgtype": "m.text", "body": "\ud800 broken", "filename": "\udfff"}
        answer = await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, f"s{number}", body=body)
        assert answer.json.get("errcode") != "M_FORBIDDEN"
    (await say(crew.user, room_id, "pills")).refused(403, "M_FORBIDDEN")
    [shown] = (await crew.auditor.get(SPAM + "/rules")).ok()["rules"]
    assert shown["stage"] == "enforced"
