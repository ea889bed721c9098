"""The console's page of operators: a role given with rooms and actions, shown, changed, taken."""

from __future__ import annotations

import pytest

from tests.admin.console.visitor import PASSWORD, Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer

PATH = "/admin/operators"


@pytest.mark.slow
async def test_a_moderator_is_bound_in_the_console(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-J16: it wants a reason and the password again; what was given stands on the page and in the log."""
    owner, user_id = await Visitor(server).log_in("owner"), crew.moderator.user_id
    room_id = await crew.user.create_room(name="The hall")
    await server.hansa.admin.rooms.overviews.write()
    ticks = {"may_read_rooms": "on", "may_read_reports": "on", "may_handle_reports": "on"}
    form = {"user_id": user_id, "role": "moderator", "rooms": f" {room_id}\n", "reason": "The hall alone", **ticks}
    assert (await owner.get(PATH)).status == 200
    assert (await owner.post(PATH, form)).status == 403
    sent = await owner.post(PATH, {**form, "own_password": PASSWORD})
    assert sent.headers["Location"] == f"{PATH}?done=role"
    await owner.get(f"{PATH}?who={user_id}")
    assert "The hall" in owner.text() and "work on cases and reports" in owner.text()
    told = (await crew.owner.get("/_hansa/admin/v1/operators")).ok()["operators"]
    [one] = [one for one in told if one["user_id"] == user_id]
    assert one["rooms"] == [room_id]
    assert one["actions"] == ["handle_reports", "read_reports", "read_rooms"]
    moderator = await Visitor(server).log_in("the-moderator")
    assert (await moderator.get("/admin/rooms")).status == 200
    assert (await moderator.get(PATH)).status == 403
    auditor = await Visitor(server).log_in("the-auditor")
    assert (await auditor.get(PATH)).status == 200 and "own_password" not in auditor.page
    assert (await auditor.post(PATH, {**form, "own_password": PASSWORD})).status == 403
    await owner.get(PATH)
    gone = await owner.post(f"{PATH}/{user_id}/take", {"reason": "Left", "own_password": PASSWORD})
    assert gone.headers["Location"] == f"{PATH}?done=role_taken"
    assert (await moderator.get("/admin/rooms")).status == 403
    newest = (await crew.owner.get("/_hansa/admin/v1/audit", limit=1)).ok()["entries"][0]
    assert (newest["action"], newest["reason"], newest["before"]["rooms"]) == ("operator.role", "Left", [room_id])
