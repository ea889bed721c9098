"""Cases: opened by what is said, acted upon after a look at what would be done, closed with an answer."""

from __future__ import annotations

import re

from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer
from tests.kit.until import until

SPAM = "/_hansa/admin/v1/spam"


async def reported(crew: Crew, text: str = "Buy followers at spam.example") -> tuple[str, str]:
    """A room with a reported message in it."""
    room_id = await crew.owner.create_room(name="Garden", preset="public_chat")
    await crew.user.join(room_id)
    await crew.auditor.join(room_id)
    event_id = await crew.user.send(room_id, text)
    (await crew.auditor.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "Advertising"})).ok()
    return room_id, event_id


async def case_of(visitor: Visitor, entity: str, state: str = "open") -> str:
    """The path of the case about somebody."""
    await visitor.get(f"/admin/cases?state={state}&q={entity.replace('!', '%21')}")
    found = re.search(r'href="(/admin/cases/\d+)"', visitor.page)
    assert found, visitor.page
    return found[1]


async def test_all_that_is_said_of_one_user_is_one_case(server: RunningServer, crew: Crew) -> None:
    """Reports of an event and of the user, hits of rules and an appeal; with the message as evidence."""
    room_id, _ = await reported(crew)
    (await crew.owner.post("/users/{}/report", crew.user.user_id, body={"reason": "Again and again"})).ok()
    rule: dict[str, object] = {
        "title": "F",
        "when": ["event"],
        "condition": "event.text.contains('casino')",
        "stage": "enforced",
    }
    rule["actions"] = [{"kind": "deny"}]
    (await crew.admin.put(SPAM + "/rules/{}", "casino", body={"rule": rule})).ok()
    await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, "1", body={"body": "casino"})
    [decision] = (await crew.admin.get(SPAM + "/decisions")).ok()["decisions"]
    appeal = {"code": decision["code"], "text": "It was a joke"}
    (await crew.user.request("POST", "/_hansa/client/v1/appeals", body=appeal)).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get(await case_of(visitor, crew.user.user_id))
    page = visitor.text()
    for text in ("Advertising", "Again and again", "Buy followers at spam.example", "It was a joke", "casino"):
        assert text in page, text
    assert "Reports: 2" in page and "Appeals: 1" in page and "Rule hits: 1" in page
    assert await server.db.fetchval("SELECT count(*) FROM cases") == 1


async def test_what_is_done_is_shown_first_and_can_be_taken_back(server: RunningServer, crew: Crew) -> None:
    """T-J15: nothing happens on the preview; then everything at once, each step in the log and in the notes."""
    room_id, event_id = await reported(crew)
    visitor = await Visitor(server).log_in("the-moderator")
    case = await case_of(visitor, crew.user.user_id)
    await visitor.get(case)
    assert (await visitor.post(f"{case}/act", {"reason": "spam"})).status == 400
    await visitor.get(case)
    assert (await visitor.post(f"{case}/act", {"do_redact": "on", "reason": ""})).status == 400
    await visitor.get(case)
    chosen = {"do_redact": "on", "do_ban": "on", "do_suspend": "on", "reason": "spam"}
    shown = await visitor.post(f"{case}/act", chosen)
    assert shown.status == 200 and event_id in visitor.text() and "Garden" not in await audit_of(server)
    assert (await crew.user.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"]["body"]
    assert (await visitor.post(f"{case}/act", {**chosen, "step": "do"})).status == 303
    event = (await crew.owner.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    assert event["content"] == {}
    member = await crew.owner.get("/rooms/{}/state/m.room.member/{}", room_id, crew.user.user_id)
    assert member.ok()["membership"] == "ban"
    await visitor.get(case)
    assert "redact: 1 of 1" in visitor.text() and "ban: 1 of 1 rooms" in visitor.text()
    assert "Buy followers" not in visitor.text()
    revealed = await visitor.post(f"{case}/evidence", {"reason": "the police asks"})
    assert revealed.status == 200 and "Buy followers at spam.example" in visitor.text()
    back = {"do_unban": "on", "do_unsuspend": "on", "reason": "a mistake", "step": "do"}
    assert (await visitor.post(f"{case}/act", back)).status == 303
    await crew.user.join(room_id)
    assert (await audit_of(server)).split() == [
        "event.redact", "member.ban", "user.suspend", "case.note", "case.evidence", "member.unban", "user.suspend",
        "case.note",
    ]  # fmt: skip


async def audit_of(server: RunningServer) -> str:
    sql = "SELECT action FROM audit_log WHERE actor = '@the-moderator:hansa.test' AND action <> 'console.log_in'"
    return " ".join(row["action"] for row in await server.db.fetch(sql + " ORDER BY entry_nid"))


async def test_a_case_is_taken_annotated_closed_and_answered(server: RunningServer, crew: Crew) -> None:
    """The reporter gets the reply; what was known opens no other case, and what comes later does."""
    await reported(crew)
    visitor = await Visitor(server).log_in("the-moderator")
    case = await case_of(visitor, crew.user.user_id, "unassigned")
    await visitor.get(case)
    assert (await visitor.post(f"{case}/assign", {"act": "take"})).status == 303
    await visitor.get("/admin/cases?state=unassigned")
    assert case not in visitor.page
    await visitor.get(case)
    assert (await visitor.post(f"{case}/assign", {"assignee": crew.user.user_id})).status == 400
    await visitor.get(case)
    assert (await visitor.post(f"{case}/note", {"text": "  "})).status == 400
    await visitor.get(case)
    closing = {"outcome": "acted", "reply": "Thank you, it is gone."}
    assert (await visitor.post(f"{case}/close", {**closing, "outcome": "magic"})).status == 400
    await visitor.get(case)
    assert (await visitor.post(f"{case}/close", closing)).status == 303
    await visitor.get(case)
    assert (await visitor.post(f"{case}/close", closing)).status == 409
    assert len((await crew.auditor.sync())["rooms"]["invite"]) == 1
    await visitor.get("/admin/cases")
    assert "/admin/cases/" not in visitor.page
    (await crew.owner.post("/users/{}/report", crew.user.user_id, body={"reason": "Once more"})).ok()
    again = await case_of(visitor, crew.user.user_id)
    assert again != case
    await visitor.get(case)
    assert (await visitor.post(f"{case}/reopen", {"reason": "x"})).status == 409
    await visitor.get(again)
    assert case in visitor.page


async def test_a_room_has_its_own_case(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room(name="Bazaar", preset="public_chat")
    await crew.auditor.join(room_id)
    (await crew.auditor.post("/rooms/{}/report", room_id, body={"reason": "Illegal goods"})).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    case = await case_of(visitor, room_id)
    await visitor.get(case)
    assert "Bazaar" in visitor.text() and "do_suspend" not in visitor.page
    assert (await visitor.post(f"{case}/act", {"do_suspend": "on", "reason": "x"})).status == 400
    await visitor.get(case)
    assert (await visitor.post(f"{case}/act", {"do_block": "on", "reason": "x", "step": "do"})).status == 303
    assert (await crew.owner.post("/join/{}", room_id)).status == 403


async def test_nobody_judges_those_above_them(server: RunningServer, crew: Crew) -> None:
    """T-J2: a moderator acts on no admin, an auditor on nobody, and evidence isn't shown to who may not read."""
    room_id = await crew.owner.create_room(preset="public_chat")
    await crew.admin.join(room_id)
    await crew.auditor.join(room_id)
    event_id = await crew.admin.send(room_id, "Secret words")
    (await crew.auditor.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "Rude"})).ok()
    moderator, auditor = await Visitor(server).log_in("the-moderator"), await Visitor(server).log_in("the-auditor")
    case = await case_of(moderator, crew.admin.user_id)
    await moderator.get(case)
    acts = {"do_redact": "on", "reason": "x", "step": "do"}
    assert (await moderator.post(f"{case}/act", acts)).status == 403
    await auditor.get(case)
    assert "Secret words" not in auditor.page and "/act" not in auditor.page
    for act in ("act", "assign", "note", "close", "reopen", "evidence"):
        assert (await auditor.post(f"{case}/{act}", {**acts, "text": "x", "outcome": "acted"})).status == 403, act


async def test_cases_open_by_themselves(server: RunningServer, crew: Crew) -> None:
    await reported(crew)

    async def is_open() -> bool:
        return bool(await server.db.fetchval("SELECT count(*) FROM cases WHERE is_open"))

    await until(is_open, within_s=30)


async def test_an_appeal_is_answered_in_its_case(server: RunningServer, crew: Crew) -> None:
    """Refused: it stands, the user is told, and nobody is asked again."""
    room_id, _ = await reported(crew)
    rule: dict[str, object] = {
        "title": "F",
        "when": ["event"],
        "condition": "event.text.contains('casino')",
        "stage": "enforced",
        "actions": [{"kind": "deny"}],
    }
    (await crew.admin.put(SPAM + "/rules/{}", "casino", body={"rule": rule})).ok()
    await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, "1", body={"body": "casino"})
    [decision] = (await crew.admin.get(SPAM + "/decisions")).ok()["decisions"]
    appeal = {"code": decision["code"], "text": "It was a joke"}
    (await crew.user.request("POST", "/_hansa/client/v1/appeals", body=appeal)).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    case = await case_of(visitor, crew.user.user_id)
    await visitor.get(case)
    answer = {"decision": str(decision["decision_id"]), "reason": "it was none", "reply": "Sorry, no."}
    assert (await visitor.post(f"{case}/appeal", {**answer, "answer": "perhaps"})).status == 400
    await visitor.get(case)
    assert (await visitor.post(f"{case}/appeal", {**answer, "answer": "refuse"})).status == 303
    await visitor.get(case)
    assert "Appeal refused" in visitor.page and f"{case}/appeal" not in visitor.page and "Sorry, no." in visitor.page
    assert len((await crew.user.sync())["rooms"]["invite"]) == 1
    assert (await visitor.post(f"{case}/appeal", {**answer, "answer": "accept"})).status == 409


async def test_cases_are_not_looked_for_where_nothing_is_said(server: RunningServer, crew: Crew) -> None:
    """A round is rung for; its fall-back is half an hour, so that none comes by itself within a test."""
    await reported(crew)

    async def is_swept() -> bool:
        return not server.hansa.base.complaints.is_rung

    await until(is_swept, within_s=60)
    await crew.owner.create_room(name="Quiet")
    await server.user("somebody")
    assert not server.hansa.base.complaints.is_rung
    (await crew.auditor.post("/users/{}/report", crew.user.user_id, body={"reason": "Again"})).ok()

    async def are_both_in() -> bool:
        sql = "SELECT changed_ts >= (SELECT max(received_ts) FROM reports) FROM cases"
        return bool(await server.db.fetchval(sql))

    await until(are_both_in, within_s=60)
