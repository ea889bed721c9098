"""Acts that need two, in the console: asked for by trying, approved or refused by somebody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.admin.console.visitor import PASSWORD, Visitor
from tests.admin.people import Crew
from tests.kit.server import RunningServer, config_for_tests, running_server


@pytest.fixture
async def server(database_dsn: str, tmp_path: Path) -> AsyncIterator[RunningServer]:
    """A server that wants two for the deletion of a room."""
    config = config_for_tests(tmp_path)
    config = replace(config, admin=replace(config.admin, second_operator_for=("delete_room",)))
    async with running_server(database_dsn, config=config) as running:
        yield running


async def test_one_asks_and_another_approves(server: RunningServer, crew: Crew) -> None:
    """T-J15, T-J2: whoever asked can't approve; a refusal ends it; an approval counts once."""
    room_id = await crew.user.create_room(name="Bazaar")
    room = f"/admin/rooms/{quote(room_id, safe='')}"
    admin, owner = await Visitor(server).log_in("the-admin"), await Visitor(server).log_in("owner")

    async def tries() -> int:
        await admin.get(room)
        return (await admin.post(f"{room}/delete", {"reason": "spam", "own_password": PASSWORD})).status

    async def asked() -> str:
        await owner.get("/admin/approvals")
        found = re.search(r'action="(/admin/approvals/\w+)"', owner.page)
        assert found and room_id in owner.text()
        return found[1]

    assert await tries() == 403
    where = await asked()
    await admin.get("/admin/approvals")
    assert 'value="approve"' not in admin.page
    assert (await admin.post(where, {"act": "approve"})).status == 403
    await owner.get("/admin/approvals")
    assert (await owner.post(where, {"act": "refuse", "reason": " "})).status == 400
    await owner.get("/admin/approvals")
    assert (await owner.post(where, {"act": "refuse", "reason": "look again"})).status == 303
    assert await tries() == 403
    where = await asked()
    assert (await owner.post(where, {"act": "approve"})).status == 303
    assert await tries() == 303
    sql = "SELECT actor, action FROM audit_log WHERE action LIKE 'approval.%' ORDER BY entry_nid"
    told = [(row["actor"], row["action"].partition(".")[2]) for row in await server.db.fetch(sql)]
    one, two = crew.admin.user_id, crew.owner.user_id
    assert told == [(one, "ask"), (two, "refuse"), (one, "ask"), (two, "give"), (one, "use")]


async def test_moderators_approve_nothing(server: RunningServer, crew: Crew) -> None:
    visitor = await Visitor(server).log_in("the-moderator")
    assert (await visitor.get("/admin/approvals")).status == 403
    await visitor.get("/admin")
    assert "/admin/approvals" not in visitor.page
