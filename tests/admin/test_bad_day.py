"""Operators who get in each other's way, or would leave the server without anybody."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.admin.people import OPERATORS, Crew, owner_of
from tests.admin.test_operators import AUDIT
from tests.kit.server import Client, RunningServer

ADMIN = "/_synapse/admin"


async def rows_about(owner: Client, target: str, action: str) -> list[dict[str, Any]]:
    """Of the audit log, the oldest first."""
    found: list[dict[str, Any]] = (await owner.get(AUDIT, target=target, action=action)).ok()["entries"]
    return found[::-1]


async def test_no_call_leaves_the_server_without_an_owner(server: RunningServer, crew: Crew) -> None:
    """T-J2: by whichever path; what was refused has changed nothing."""
    owner = crew.owner
    user = f"{ADMIN}/v2/users/{owner.user_id}"
    for method, path, body in (
        ("PUT", user, {"deactivated": True}),
        ("PUT", user, {"admin": False}),
        ("PUT", user, {"locked": True}),
        ("PUT", f"{ADMIN}/v1/users/{owner.user_id}/admin", {"admin": False}),
        ("POST", f"{ADMIN}/v1/deactivate/{owner.user_id}", {"erase": True}),
        ("PUT", f"{ADMIN}/v1/suspend/{owner.user_id}", {"suspend": True}),
        ("POST", f"{ADMIN}/v1/users/{owner.user_id}/shadow_ban", {}),
        ("PUT", f"/_matrix/client/v1/admin/lock/{owner.user_id}", {"locked": True}),
        ("PUT", f"/_matrix/client/v1/admin/suspend/{owner.user_id}", {"suspended": True}),
    ):
        answer = await owner.request(method, path, body=body)
        assert answer.status in (400, 403), (method, path, body, answer.body)
    details = (await owner.get(f"{ADMIN}/v2/users/{{}}", owner.user_id)).ok()
    marks = [details[name] for name in ("admin", "deactivated", "locked", "suspended", "shadow_banned")]
    assert marks == [True, False, False, False, False]


async def test_an_owner_who_is_locked_out_counts_for_nobody(server: RunningServer, crew: Crew) -> None:
    """T-J2: beside one who can't act, the other one is the last."""
    second = await owner_of(server, "second")
    await server.db.execute("UPDATE users SET is_locked = true WHERE user_id = $1", second.user_id)
    (await crew.owner.delete(OPERATORS, crew.owner.user_id)).refused(403, "M_FORBIDDEN")
    await server.db.execute("UPDATE users SET is_locked = false WHERE user_id = $1", second.user_id)
    (await crew.owner.delete(OPERATORS, crew.owner.user_id)).ok()


async def test_two_act_on_one_account_at_once(server: RunningServer, crew: Crew) -> None:
    """T-J16: both acts are in the log in the order in which they were done, each with what it found."""
    path = f"{ADMIN}/v1/suspend/{crew.user.user_id}"
    wishes = [(crew.admin, True), (crew.moderator, False)] * 5
    answers = await asyncio.gather(*(who.put(path, body={"suspend": wish}) for who, wish in wishes))
    assert {answer.status for answer in answers} == {200}
    rows = await rows_about(crew.owner, crew.user.user_id, "user.suspend")
    assert len(rows) == len(wishes)
    state = False
    for row in rows:
        assert row["before"] == {"suspended": state}
        state = row["after"]["suspended"]
        assert row["actor"] == (crew.admin if state else crew.moderator).user_id
    details = (await crew.owner.get(f"{ADMIN}/v2/users/{{}}", crew.user.user_id)).ok()
    assert details["suspended"] is state


async def test_two_change_different_things_of_one_account_at_once(server: RunningServer, crew: Crew) -> None:
    """T-J16: neither undoes what the other one did."""
    path = f"{ADMIN}/v2/users/{crew.user.user_id}"
    second = await owner_of(server, "second")
    bodies = [(crew.owner, {"displayname": "Bob"}), (second, {"user_type": "bot"}), (crew.owner, {"locked": True})]
    answers = await asyncio.gather(*(who.put(path, body=body) for who, body in bodies))
    assert [answer.status for answer in answers] == [200, 200, 200]
    details = (await crew.owner.get(f"{ADMIN}/v2/users/{{}}", crew.user.user_id)).ok()
    assert (details["displayname"], details["user_type"], details["locked"]) == ("Bob", "bot", True)
    assert len(await rows_about(crew.owner, crew.user.user_id, "user.modify")) == 2


async def test_a_room_is_deleted_once_by_two(server: RunningServer, crew: Crew) -> None:
    """T-J15: the other one is told that it is under way, or that there is no such room any more."""
    room_id = await crew.user.create_room()
    path = f"{ADMIN}/v2/rooms/{room_id}"
    answers = await asyncio.gather(crew.owner.delete(path, body={}), crew.admin.delete(path, body={}))
    assert sorted(answer.status for answer in answers) in ([200, 400], [200, 404]), [one.body for one in answers]
    assert len(await rows_about(crew.owner, room_id, "room.delete")) == 1
