"""What operators do in the console: by the admin API's own actions, with a reason, and an entry in the audit log."""

from __future__ import annotations

import csv
import io
import json
from urllib.parse import quote

import pytest

from admin.console.export import export
from tests.admin.console.visitor import PASSWORD, Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer
from tests.kit.until import until


async def log_of(server: RunningServer) -> list[tuple[str, str, str, str | None]]:
    """Who did what to whom, and why; the oldest first."""
    sql = """
        SELECT actor, action, target, reason FROM audit_log WHERE action <> 'console.log_in' ORDER BY entry_nid
    """
    return [tuple(row) for row in await server.db.fetch(sql)]


def page_of(user_id: str) -> str:
    return f"/admin/users/{quote(user_id, safe='')}"


async def test_suspending_and_locking_and_back(server: RunningServer, crew: Crew) -> None:
    """A moderator's daily work; each step is in force at once, and in the log."""
    visitor, page = await Visitor(server).log_in("the-moderator"), page_of(crew.user.user_id)
    room_id = await crew.user.create_room()
    for act in ("suspend", "unsuspend", "lock", "unlock"):
        await visitor.get(page)
        sent = await visitor.post(f"{page}/sanction", {"act": act, "reason": f"to {act}"})
        assert (sent.status, sent.headers["Location"]) == (303, f"{page}?done={act}")
        said = await crew.user.put("/rooms/{}/send/m.room.message/{}", room_id, act, body={"body": "x"})
        assert said.status == {"suspend": 403, "lock": 401}.get(act, 200), act
    actor, target = crew.moderator.user_id, crew.user.user_id
    assert (await log_of(server))[-4:] == [
        (actor, "user.suspend", target, "to suspend"),
        (actor, "user.suspend", target, "to unsuspend"),
        (actor, "user.lock", target, "to lock"),
        (actor, "user.lock", target, "to unlock"),
    ]


async def test_acts_are_refused_to_who_may_not(server: RunningServer, crew: Crew) -> None:
    """T-J2: by the auditor, against somebody above, without a reason; nothing is done and nothing noted."""
    before, page = await log_of(server), page_of(crew.user.user_id)
    auditor = await Visitor(server).log_in("the-auditor")
    await auditor.get(page)
    assert "sanction" not in auditor.page
    assert (await auditor.post(f"{page}/sanction", {"act": "lock", "reason": "x"})).status == 403
    moderator = await Visitor(server).log_in("the-moderator")
    above = page_of(crew.admin.user_id)
    await moderator.get(above)
    assert (await moderator.post(f"{above}/sanction", {"act": "lock", "reason": "x"})).status == 403
    await moderator.get(page)
    assert (await moderator.post(f"{page}/sanction", {"act": "lock", "reason": " "})).status == 400
    assert (await moderator.post(f"{page}/sanction", {"act": "explode", "reason": "x"})).status == 400
    assert (await moderator.post(f"{page}/deactivate", {"own_password": PASSWORD, "reason": "x"})).status == 403
    assert await log_of(server) == before
    assert (await crew.user.get("/account/whoami")).status == 200


async def test_what_cannot_be_undone_wants_the_password_again(server: RunningServer, crew: Crew) -> None:
    """T-I6, T-J15: a cookie alone ends no account and takes none over."""
    visitor, page = await Visitor(server).log_in("owner"), page_of(crew.user.user_id)
    await visitor.get(page)
    for act in ("deactivate", "password"):
        fields = {"reason": "gone", "own_password": "wrong", "new_password": "a new horse battery"}
        assert (await visitor.post(f"{page}/{act}", fields)).status == 403
    assert (await crew.user.get("/account/whoami")).status == 200
    await visitor.get(page)
    fields = {"reason": "forgot it", "own_password": PASSWORD, "new_password": "a new horse battery", "log_out": "on"}
    assert (await visitor.post(f"{page}/password", fields)).status == 303
    assert (await crew.user.get("/account/whoami")).status == 401
    assert (await server.login("user", "a new horse battery")).token
    assert (await visitor.post(f"{page}/deactivate", {"reason": "left", "own_password": PASSWORD})).status == 303
    await visitor.get(page)
    assert "Deactivated" in visitor.page
    last = [entry[1:] for entry in await log_of(server)][-2:]
    assert last == [
        ("user.password", crew.user.user_id, "forgot it"),
        ("user.deactivate", crew.user.user_id, "left"),
    ]


async def test_a_room_is_blocked_found_and_deleted(server: RunningServer, crew: Crew) -> None:
    """T-J15: deleting asks for the password, goes on as a job, and is seen to its end."""
    room_id = await crew.user.create_room(name="Bazaar", preset="public_chat")
    page = f"/admin/rooms/{quote(room_id, safe='')}"
    moderator, owner = await Visitor(server).log_in("the-moderator"), await Visitor(server).log_in("owner")
    await moderator.get(page)
    assert (await moderator.post(f"{page}/block", {"act": "block", "reason": "spam"})).status == 303
    assert (await crew.auditor.post("/join/{}", room_id)).status == 403
    await moderator.get("/admin/rooms?state=blocked")
    assert "Bazaar" in moderator.page
    assert (await moderator.post(f"{page}/delete", {"reason": "spam", "own_password": PASSWORD})).status == 403
    await owner.get(page)
    assert (await owner.post(f"{page}/delete", {"reason": "spam", "own_password": "x"})).status == 403
    await owner.get(page)
    assert (await owner.post(f"{page}/delete", {"reason": "spam", "own_password": PASSWORD})).status == 303

    async def is_done() -> bool:
        await owner.get("/admin/jobs?state=complete")
        return room_id in owner.page

    await until(is_done)
    assert (await owner.get(page)).status == 404
    assert [entry[1:] for entry in await log_of(server)][-2:] == [
        ("room.block", room_id, "spam"),
        ("room.delete", room_id, "spam"),
    ]


async def test_a_lost_second_factor_is_replaced(server: RunningServer, crew: Crew) -> None:
    """By an owner, with the password; whoever held the old one is out."""
    lost, owner = await Visitor(server).log_in("the-moderator"), await Visitor(server).log_in("owner")
    page = page_of(crew.moderator.user_id)
    await owner.get(page)
    assert (await owner.post(f"{page}/factor", {"reason": "new phone", "own_password": "x"})).status == 403
    await owner.get(page)
    assert (await owner.post(f"{page}/factor", {"reason": "new phone", "own_password": PASSWORD})).status == 303
    assert (await lost.get("/admin/users")).headers["Location"].startswith("/admin/login")
    again = await Visitor(server).log_in("the-moderator")
    assert again.secret != lost.secret
    assert (await log_of(server))[-1][1:] == ("console.forget_factor", crew.moderator.user_id, "new phone")
    sql = "SELECT count(*) FROM audit_log WHERE action = 'console.log_in' AND address = '127.0.0.1'"
    assert await server.db.fetchval(sql) == 3


async def test_registration_tokens_are_made_and_deleted(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/tokens")
    assert (await visitor.post("/admin/tokens", {"token": "welcome", "uses": "3", "days": "7"})).status == 303
    await visitor.get("/admin/tokens")
    assert "welcome" in visitor.page and "0 / 3" in visitor.page
    assert (await visitor.post("/admin/tokens", {"token": "no good!", "uses": ""})).status == 400
    await visitor.get("/admin/tokens")
    assert (await visitor.post("/admin/tokens", {"token": "x", "uses": "-1"})).status == 400
    await visitor.get("/admin/tokens")
    assert (await visitor.post("/admin/tokens/delete", {"token": "welcome"})).status == 303
    await visitor.get("/admin/tokens")
    assert "welcome" not in visitor.page


async def test_a_notice_arrives(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-admin")
    await visitor.get("/admin/notices")
    assert (await visitor.post("/admin/notices", {"to": crew.user.user_id, "text": "Mind the gap"})).status == 303
    invited = (await crew.user.sync())["rooms"]["invite"]
    assert len(invited) == 1
    assert (await log_of(server))[-1][1:3] == ("notice.send", crew.user.user_id)
    assert (await visitor.post("/admin/notices", {"to": "@x:elsewhere.test", "text": "x"})).status == 400


async def test_lists_go_on_by_keys(server: RunningServer, crew: Crew) -> None:
    sql = "INSERT INTO users (user_id, created_ts) SELECT '@n' || lpad(i::text, 3, '0') || ':hansa.test', i FROM "
    await server.db.execute(sql + "generate_series(1, 120) i")
    visitor, seen = await Visitor(server).log_in("owner"), 0
    path = "/admin/users?q=n"
    while path:
        await visitor.get(path)
        seen += visitor.page.count('<th scope="row"')
        link = visitor.text().partition('rel="next" href="')[2].partition('"')[0]
        path = link
    assert seen == 120


async def test_lists_leave_as_files(server: RunningServer, crew: Crew) -> None:
    """T-J13: what a spreadsheet would run is text in the file."""
    await crew.user.put("/profile/{}/displayname", crew.user.user_id, body={"displayname": "=HYPERLINK(1)"})
    visitor = await Visitor(server).log_in("owner")
    answer = await visitor.get("/admin/users?format=csv")
    assert "attachment" in answer.headers["Content-Disposition"]
    rows = list(csv.DictReader(io.StringIO(answer.body.decode())))
    [row] = [one for one in rows if "user:hansa" in one["user_id"]]
    assert row["display_name"] == "'=HYPERLINK(1)"
    listed = json.loads((await visitor.get("/admin/users?format=json")).body)
    assert {"=HYPERLINK(1)"} <= {one["display_name"] for one in listed}


@pytest.mark.parametrize("cell", ["=1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1"])
def test_no_cell_is_a_formula(cell: str) -> None:
    """T-J13: whichever way a formula can begin."""
    answer = export("x", ["a"], [{"a": cell}], "csv")
    assert isinstance(answer.body, bytes)
    assert list(csv.reader(io.StringIO(answer.body.decode(), newline="")))[1][0] == f"'{cell}"
