"""Finding an event by its id or its time, and what the page says of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from urllib.parse import quote

from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer


async def test_an_event_is_found_by_its_id_and_by_its_time(server: RunningServer, crew: Crew) -> None:
    room_id = await crew.user.create_room(name="Garden")
    sent = [await crew.user.send(room_id, f"secret {number}") for number in range(5)]
    sql = "UPDATE events SET received_ms = 1900000000000 + event_nid WHERE event_id = ANY($1::text[])"
    await server.db.execute(sql, sent[3:])
    auditor = await Visitor(server).log_in("the-auditor")
    asked = await auditor.get(f"/admin/trace?q={quote(sent[0])}")
    where = asked.headers["Location"]
    assert asked.status == 303 and where == f"/admin/trace/{quote(sent[0], safe='')}"
    await auditor.get(where)
    assert "sent here" in auditor.page and "accepted" in auditor.page and "secret" not in auditor.page
    rows = (await auditor.get(f"{where}?format=jsonl")).body.decode().splitlines()
    assert [json.loads(row)["step"] for row in rows][:3] == ["received", "signed", "authorised"]
    moment = datetime.fromtimestamp(1_900_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    await auditor.get(f"/admin/trace?at={moment}&about={quote(room_id)}")
    assert [event_id in auditor.text() for event_id in sent] == [False, False, False, True, True]
    await auditor.get(f"/admin/trace?at={moment}&about=%40nobody:hansa.test")
    assert "Nothing here" in auditor.page
    assert (await auditor.get("/admin/trace?at=yesterday")).status == 200
    assert (await auditor.get("/admin/trace/%24unknown")).status == 404


async def test_a_rule_s_part_in_an_event_is_told(server: RunningServer, crew: Crew) -> None:
    rule = {"title": "F", "when": ["event"], "condition": "event.text.contains('casino')", "stage": "shadow"}
    body: dict[str, object] = {"rule": {**rule, "actions": [{"kind": "deny"}]}}
    (await crew.admin.put("/_hansa/admin/v1/spam/rules/{}", "casino", body=body)).ok()
    room_id = await crew.user.create_room()
    event_id = await crew.user.send(room_id, "casino")
    (await crew.admin.get("/_hansa/admin/v1/spam/decisions")).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get(f"/admin/trace/{quote(event_id, safe='')}")
    assert "casino v1 (Shadow): Refuse" in visitor.text()


async def test_what_was_refused_is_no_part_of_another_event(server: RunningServer, crew: Crew) -> None:
    """A refusal of the same moment isn't taken for a verdict on what was let through."""
    rule = {"title": "F", "when": ["event"], "condition": "event.text.contains('casino')", "stage": "enforced"}
    body: dict[str, object] = {"rule": {**rule, "actions": [{"kind": "deny"}]}}
    (await crew.admin.put("/_hansa/admin/v1/spam/rules/{}", "casino", body=body)).ok()
    room_id = await crew.user.create_room()
    refused = await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, "1", body={"body": "casino"})
    assert refused.status == 403
    event_id = await crew.user.send(room_id, "Good morning")
    (await crew.admin.get("/_hansa/admin/v1/spam/decisions")).ok()
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get(f"/admin/trace/{quote(event_id, safe='')}")
    assert "no rule held" in visitor.text()
