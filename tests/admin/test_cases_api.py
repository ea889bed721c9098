"""Cases and appeals over JSON: what scripts and other consoles do with them, and what each step leaves in the log."""

from __future__ import annotations

from typing import Any

from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer

CASES = "/_hansa/admin/v1/cases"
CASE = CASES + "/{}"
APPEALS = "/_hansa/admin/v1/appeals"
SPAM = "/_hansa/admin/v1/spam"


async def reported(crew: Crew) -> tuple[str, str]:
    """A room, and a message in it that was reported."""
    room_id = await crew.owner.create_room(name="Garden", preset="public_chat")
    await crew.user.join(room_id)
    await crew.auditor.join(room_id)
    event_id = await crew.user.send(room_id, "Buy followers at spam.example")
    (await crew.auditor.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "Advertising"})).ok()
    return room_id, event_id


async def only_case(client: Client, **query: str) -> dict[str, Any]:
    [case] = (await client.get(CASES, **query)).ok()["cases"]
    found: dict[str, Any] = case
    return found


async def acts_of(server: RunningServer, actor: str) -> list[str]:
    sql = "SELECT action FROM audit_log WHERE actor = $1 ORDER BY entry_nid"
    return [row["action"] for row in await server.db.fetch(sql, actor)]


async def test_a_case_from_the_report_to_the_reply(server: RunningServer, crew: Crew) -> None:
    """Found, taken, annotated, acted upon after a look at what would be done, closed, opened again; all in the log."""
    room_id, event_id = await reported(crew)
    mod = crew.moderator
    case = await only_case(mod, state="unassigned", about=crew.user.user_id)
    number = str(case["case_id"])
    assert (case["kind"], case["because"], case["reports"]) == ("user", "report", 1)
    (await mod.post(CASE + "/assign", number, body={"assignee": mod.user_id})).ok()
    assert (await mod.get(CASES, state="unassigned")).ok()["cases"] == []
    assert (await only_case(mod, about=mod.user_id))["assignee"] == mod.user_id
    (await mod.post(CASE + "/notes", number, body={"text": "Looks like the wave of May"})).ok()
    wish: dict[str, object] = {"acts": ["redact", "ban"], "preview": True}
    plan = (await mod.post(CASE + "/acts", number, body=wish)).ok()["plan"]
    assert plan == {"acts": ["redact", "ban"], "events": [event_id], "rooms": [room_id], "files": 0}
    assert (await crew.owner.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"] != {}
    done = (await mod.post(CASE + "/acts", number, body={"acts": ["redact", "ban"], "reason": "spam"})).ok()["done"]
    assert done == ["redact: 1 of 1", "ban: 1 of 1 rooms"]
    whole = (await mod.get(CASE, number)).ok()
    assert [one["reason"] for one in whole["reported"]] == ["Advertising"]
    assert [note["author"] for note in whole["notes"]] == [mod.user_id] * 2
    assert "event" not in whole["evidence"][0] and whole["evidence"][0]["is_redacted"]
    shown = (await mod.post(CASE + "/evidence", number, body={"reason": "the police asks"})).ok()
    assert shown["evidence"][0]["event"]["content"]["body"] == "Buy followers at spam.example"
    assert (await mod.post(CASE + "/close", number, body={"outcome": "acted", "reply": "Gone."})).ok() == {"told": 1}
    assert (await only_case(mod, state="closed"))["reply"] == "Gone."
    (await mod.post(CASE + "/reopen", number, body={"reason": "there is more"})).ok()
    assert (await only_case(mod))["outcome"] is None
    assert await acts_of(server, mod.user_id) == [
        "case.assign", "case.note", "event.redact", "member.ban", "case.note", "case.evidence", "case.close",
        "case.reopen",
    ]  # fmt: skip


async def test_what_cannot_be_done_with_a_case(server: RunningServer, crew: Crew) -> None:
    """T-J2: by an auditor nothing; nothing without a reason; no act that makes no sense; no case that isn't there."""
    await reported(crew)
    mod = crew.moderator
    number = str((await only_case(crew.auditor))["case_id"])
    assert (await crew.auditor.get(CASE, number)).ok()["evidence"] == []
    everything = {"acts": ["ban"], "reason": "x", "text": "x", "assignee": None, "outcome": "acted"}
    for act in ("acts", "notes", "evidence", "assign", "close", "reopen"):
        (await crew.auditor.post(CASE + f"/{act}", number, body=everything)).refused(403, "M_FORBIDDEN")
    (await mod.post(CASE + "/acts", number, body={"acts": ["ban"]})).refused(400, "M_INVALID_PARAM")
    (await mod.post(CASE + "/acts", number, body={"acts": ["block"], "reason": "x"})).refused(400, "M_INVALID_PARAM")
    (await mod.post(CASE + "/acts", number, body={"acts": [], "reason": "x"})).refused(400, "M_INVALID_PARAM")
    (await mod.post(CASE + "/evidence", number, body={"reason": " "})).refused(400, "M_INVALID_PARAM")
    (await mod.post(CASE + "/reopen", number, body={"reason": " "})).refused(400, "M_INVALID_PARAM")
    (await mod.post(CASE + "/close", number, body={"outcome": "magic"})).refused(400, "M_INVALID_PARAM")
    (await mod.post(CASE + "/assign", number, body={"assignee": crew.user.user_id})).refused(400, "M_INVALID_PARAM")
    for missing in ("9999", "-1", "one", "9" * 30):
        (await mod.get(CASE, missing)).refused(404, "M_NOT_FOUND")
    for token in ("1", "a.b", "1.2.3", "9" * 30 + ".1"):
        (await mod.get(CASES, **{"from": token})).refused(400, "M_INVALID_PARAM")
    assert await acts_of(server, mod.user_id) == []


async def test_cases_come_in_pages(server: RunningServer, crew: Crew) -> None:
    """Each once, those of which something was said last first; and only those that are asked for."""
    sql = """
        INSERT INTO cases (kind, entity, because, opened_ts, changed_ts)
        SELECT CASE WHEN n % 2 = 0 THEN 'user' ELSE 'room' END, 'case' || n, 'report', n, 1000 + n / 3
        FROM generate_series(1, 23) n
    """
    await server.db.execute(sql)
    seen: list[str] = []
    query = {"limit": "5"}
    while True:
        page = (await crew.auditor.get(CASES, **query)).ok()
        seen += [case["entity"] for case in page["cases"]]
        if "next_token" not in page:
            break
        query["from"] = page["next_token"]
    assert seen == [f"case{n}" for n in range(23, 0, -1)]
    rooms = (await crew.auditor.get(CASES, kind="room")).ok()["cases"]
    assert {case["kind"] for case in rooms} == {"room"} and len(rooms) == 12
    assert (await crew.auditor.get(CASES, because="appeal")).ok()["cases"] == []
    (await crew.auditor.get(CASES, because="boredom")).refused(400, "M_INVALID_PARAM")


async def appealed(crew: Crew, text: str) -> dict[str, Any]:
    """A message is refused and its sender says that this was wrong: the appeal as it is listed."""
    said = {"msgtype": "m.text", "body": "casino"}
    room_id = await crew.user.create_room()
    assert (await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, "1", body=said)).status == 403
    decision = (await crew.admin.get(SPAM + "/decisions")).ok()["decisions"][0]
    body = {"code": decision["code"], "text": text}
    (await crew.user.request("POST", "/_hansa/client/v1/appeals", body=body)).ok()
    found: dict[str, Any] = (await crew.moderator.get(APPEALS)).ok()["appeals"][0]
    assert (found["decision_id"], found["appeal"]) == (decision["decision_id"], text)
    return found


async def test_a_wrong_number_is_told_as_what_it_is(server: RunningServer, crew: Crew) -> None:
    """Of a decision, not of a case."""
    body = {"accepted": True, "reason": "it was wrong"}
    for number, words in (("x", "there is no such decision"), ("999", "there is no such appeal")):
        told = (await crew.moderator.post(APPEALS + "/{}", number, body=body)).refused(404, "M_NOT_FOUND")
        assert told["error"] == words


async def test_appeals_are_answered_once(server: RunningServer, crew: Crew) -> None:
    """Accepted: undone, and the user told; refused: it stands; neither waits any longer, in list or case."""
    rule = {"title": "F", "when": ["event"], "condition": "event.text.contains('casino')", "stage": "enforced"}
    body: dict[str, object] = {"rule": {**rule, "actions": [{"kind": "deny"}]}}
    (await crew.admin.put(SPAM + "/rules/{}", "casino", body=body)).ok()
    first = await appealed(crew, "It was a joke")
    assert (await only_case(crew.moderator, because="appeal"))["appeals"] == 1
    answer = {"accepted": True, "reason": "it was", "reply": "You were right."}
    number = str(first["decision_id"])
    (await crew.auditor.post(APPEALS + "/{}", number, body=answer)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.post(APPEALS + "/{}", number, body={**answer, "reason": ""})).refused(400, "M_INVALID_PARAM")
    assert (await crew.moderator.post(APPEALS + "/{}", number, body=answer)).ok() == {"told": True}
    (await crew.moderator.post(APPEALS + "/{}", number, body=answer)).refused(409, "M_UNKNOWN")
    assert len((await crew.user.sync())["rooms"]["invite"]) == 1
    second = await appealed(crew, "Again a joke")
    refusal = {"accepted": False, "reason": "it was none"}
    number = str(second["decision_id"])
    assert (await crew.moderator.post(APPEALS + "/{}", number, body=refusal)).ok() == {"told": False}
    assert (await crew.moderator.get(APPEALS)).ok()["appeals"] == []
    all_of_them = (await crew.moderator.get(APPEALS, answered="true")).ok()["appeals"]
    assert [(one["is_accepted"], one["undone_ts"] is not None) for one in all_of_them] == [(False, False), (True, True)]
    assert (await only_case(crew.moderator))["appeals"] == 0
    (await crew.moderator.post(APPEALS + "/{}", "9999", body=refusal)).refused(404, "M_NOT_FOUND")
    marks = await server.db.fetch("SELECT is_spam FROM spam_marks ORDER BY decision_id")
    assert [row["is_spam"] for row in marks] == [False, True]
    assert await acts_of(server, crew.moderator.user_id) == [
        "appeal.answer", "decision.undo", "appeal.answer", "decision.mark",
    ]  # fmt: skip
