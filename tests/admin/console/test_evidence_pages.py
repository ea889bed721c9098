"""Legal holds, exports and retention at the console: each act proved by what it does, and by the audit log."""

from __future__ import annotations

import hashlib
import json
import re
from urllib.parse import quote

import pytest

from tests.admin.console.visitor import PASSWORD, Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer
from tests.kit.until import until

pytestmark = pytest.mark.slow
DAY_MS = 86_400_000


async def acts_of(server: RunningServer, actor: str) -> list[tuple[str, str | None]]:
    sql = "SELECT action, reason FROM audit_log WHERE actor = $1 AND action <> 'console.log_in' ORDER BY entry_nid"
    return [(row["action"], row["reason"]) for row in await server.db.fetch(sql, actor)]


async def test_a_hold_is_placed_and_released(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-J15: with a reason; taken back only with the password; not by those who may only look."""
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/holds")
    assert (await visitor.post("/admin/holds", {"target": "someone", "reason": "case 12"})).status == 400
    await visitor.get("/admin/holds")
    assert (await visitor.post("/admin/holds", {"target": crew.user.user_id, "reason": ""})).status == 400
    await visitor.get("/admin/holds")
    assert (await visitor.post("/admin/holds", {"target": crew.user.user_id, "reason": "case 12"})).status == 303
    await visitor.get(f"/admin/holds?q={quote(crew.user.user_id)}")
    assert "case 12" in visitor.page
    found = re.search(r'action="(/admin/holds/[^"]+/release)"', visitor.page)
    assert found
    [held] = (await crew.admin.get("/_hansa/admin/v1/holds")).ok()["holds"]
    assert (held["kind"], held["target"]) == ("user", crew.user.user_id)
    auditor = await Visitor(server).log_in("the-auditor")
    await auditor.get("/admin/holds")
    assert "case 12" in auditor.page and "/release" not in auditor.page
    assert (await auditor.post(found[1], {"reason": "x", "own_password": PASSWORD})).status == 403
    assert (await visitor.post(found[1], {"reason": "case closed", "own_password": "wrong"})).status == 403
    await visitor.get("/admin/holds")
    assert (await visitor.post(found[1], {"reason": "case closed", "own_password": PASSWORD})).status == 303
    assert (await crew.admin.get("/_hansa/admin/v1/holds")).ok()["holds"] == []
    rows = json.loads((await visitor.get("/admin/holds?state=released&format=json")).body)
    assert [(row["target"], row["released_by"]) for row in rows] == [(crew.user.user_id, crew.admin.user_id)]
    assert await acts_of(server, crew.admin.user_id) == [("hold.set", "case 12"), ("hold.release", "case closed")]


async def test_an_export_is_begun_watched_taken_and_deleted(server: RunningServer, crew: Crew) -> None:
    """T-J15: with the password; what is downloaded has the sums that the page shows."""
    room_id = await crew.user.create_room()
    await crew.user.send(room_id, "Evidence of a kind")
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/exports")
    wish = {"target": room_id, "form_text": "on", "reason": "case 12", "own_password": PASSWORD}
    assert (await visitor.post("/admin/exports", {**wish, "own_password": "wrong"})).status == 403
    await visitor.get("/admin/exports")
    assert (await visitor.post("/admin/exports", {**wish, "since": "yesterday"})).status == 400
    await visitor.get("/admin/exports")
    assert (await visitor.post("/admin/exports", {**wish, "as_sent": "on"})).status == 403
    await visitor.get("/admin/exports")
    where = (await visitor.post("/admin/exports", wish)).headers["Location"].partition("?")[0]

    async def is_there() -> bool:
        await visitor.get(where)
        return "events.jsonl" in visitor.page

    await until(is_there, within_s=60)
    assert "verify_export.py" in visitor.page
    file = await visitor.get(f"{where}/files/events.txt")
    assert file.headers["Content-Disposition"].startswith("attachment") and b"Evidence of a kind" in file.body
    assert hashlib.sha256(file.body).hexdigest() in visitor.page
    assert (await visitor.get(f"{where}/files/..%2Fmanifest.json")).status == 404
    moderator = await Visitor(server).log_in("the-moderator")
    assert (await moderator.get(where)).status == 403
    assert (await moderator.get(f"{where}/files/events.txt")).status == 403
    await visitor.get(where)
    assert (await visitor.post(f"{where}/delete", {})).status == 303
    await visitor.get(where)
    assert "events.jsonl" not in visitor.page
    assert [action for action, _ in await acts_of(server, crew.admin.user_id)] == [
        "room.export", "export.take", "export.delete",
    ]  # fmt: skip


async def test_what_retention_would_take_is_seen_before_it_is_set(server: RunningServer, crew: Crew) -> None:
    """T-J15: a preview changes nothing; setting it wants the password, and the room says it from then on."""
    room_id = await crew.user.create_room(name="Garden")
    for number in range(3):
        await crew.user.send(room_id, f"Old {number}")
    sql = "UPDATE events SET origin_server_ts = origin_server_ts - $1::bigint WHERE sender = $2"
    await server.db.execute(sql, 10 * DAY_MS, crew.user.user_id)
    await crew.user.send(room_id, "New")
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/retention")
    assert "Retention is off" in visitor.page
    assert (await visitor.post("/admin/retention", {"wish": "5"})).status == 400
    await visitor.get("/admin/retention")
    assert (await visitor.post("/admin/retention", {"room_id": room_id, "wish": "soon"})).status == 400
    await visitor.get("/admin/retention")
    where = (await visitor.post("/admin/retention", {"room_id": room_id, "wish": "5"})).headers["Location"]
    await visitor.get(where)
    assert "None of its own" in visitor.page

    async def is_counted() -> bool:
        await visitor.get(where)
        return "Complete" in visitor.page or "Done" in visitor.page

    await until(is_counted, within_s=60)
    figures = dict(re.findall(r"<dt>(\w+)</dt><dd>([^<]+)</dd>", visitor.page))
    assert (figures["Rooms"], figures["Messages"]) == ("1", "3")
    missing = await crew.user.get("/rooms/{}/state/m.room.retention/", room_id)
    assert missing.status == 404
    wish = {"room_id": room_id, "wish": "5", "reason": "agreed", "own_password": PASSWORD}
    assert (await visitor.post("/admin/retention/room", {**wish, "own_password": "wrong"})).status == 403
    await visitor.get(where)
    assert (await visitor.post("/admin/retention/room", {**wish, "wish": ""})).status == 400
    await visitor.get(where)
    assert (await visitor.post("/admin/retention/room", wish)).status == 303
    said = await crew.user.get("/rooms/{}/state/m.room.retention/", room_id)
    assert said.ok() == {"max_lifetime": 5 * DAY_MS}

    async def is_listed() -> bool:
        rows = json.loads((await visitor.get("/admin/retention?format=json")).body)
        return [(row["room_id"], row["wish_days"]) for row in rows] == [(room_id, 5)]

    await until(is_listed, within_s=60)
    await visitor.get(where)
    assert "None of its own" not in visitor.page and visitor.page.count(">5 d<") >= 2
    moderator = await Visitor(server).log_in("the-moderator")
    await moderator.get("/admin/retention")
    assert (await moderator.post("/admin/retention", {"room_id": room_id})).status == 403
    assert (await moderator.post("/admin/retention/room", wish)).status == 403
    assert ("room.retention", "agreed") in await acts_of(server, crew.admin.user_id)


async def test_a_rule_for_the_whole_server_is_shown_as_configuration(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/retention")
    where = (await visitor.post("/admin/retention", {"most": "365"})).headers["Location"]
    await visitor.get(where)
    assert "retention_most_s = 31536000" in visitor.page and "/admin/retention/room" not in visitor.page
