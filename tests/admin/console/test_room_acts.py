"""Many rooms, members and messages at once: shown, done, and taken back where the protocol allows it."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from admin.console.desk import room_path
from tests.admin.console.test_oversight_pages import offered_back
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer


async def memberships(client: Client, room_id: str, users: list[Client]) -> list[str]:
    path = "/rooms/{}/state/m.room.member/{}"
    return [(await client.get(path, room_id, user.user_id)).ok()["membership"] for user in users]


async def test_rooms_are_blocked_and_opened_again(server: RunningServer, crew: Crew) -> None:
    """T-J15: what was ticked is shown first, and one click takes it back."""
    rooms = [await crew.user.create_room(name=f"Room {number}") for number in range(2)]
    visitor = await Visitor(server).log_in("the-moderator")
    await visitor.get("/admin/rooms")
    assert visitor.page.count('name="pick_') == 2
    chosen = {f"pick_{number}": one for number, one in enumerate(rooms)} | {"act": "block", "reason": "a wave"}
    sql = "SELECT count(*) FROM blocked_rooms"
    assert (await visitor.post("/admin/rooms/act", chosen)).status == 200
    assert "It can be taken back" in visitor.text() and await server.db.fetchval(sql) == 0
    assert (await visitor.post("/admin/rooms/act", {**chosen, "step": "do"})).status == 200
    assert await server.db.fetchval(sql) == 2
    back = offered_back(visitor)
    assert (await visitor.post("/admin/rooms/act", {**back, "reason": "a mistake"})).status == 200
    assert await server.db.fetchval(sql) == 0
    await visitor.get("/admin/rooms")
    assert (await visitor.post("/admin/rooms/act", {**chosen, "act": "delete", "step": "do"})).status == 400
    auditor = await Visitor(server).log_in("the-auditor")
    await auditor.get("/admin/rooms")
    assert 'name="pick_' not in auditor.page
    assert (await auditor.post("/admin/rooms/act", {**chosen, "step": "do"})).status == 403


async def test_rooms_are_found_by_id_alias_creator_and_how_their_name_begins(server: RunningServer, crew: Crew) -> None:
    user, other = crew.user, await server.user("other")
    body = {"name": "Zebras", "preset": "public_chat", "visibility": "public", "room_alias_name": "stripes"}
    room_id, plain = await user.create_room(**body), await other.create_room(name="Horses")
    await server.hansa.admin.rooms.overviews.write()
    visitor = await Visitor(server).log_in("the-moderator")

    async def found(wanted: str, state: str = "all") -> list[str]:
        page = await visitor.get(f"/admin/rooms?q={quote(wanted, safe='')}&state={state}&format=json")
        return [row["room_id"] for row in json.loads(page.body)]

    for wanted in (room_id, "#stripes:hansa.test", user.user_id, "zeb", "Zebras"):
        assert await found(wanted) == [room_id], wanted
    assert (await found("zeb", "published"), await found("zeb", "blocked")) == ([room_id], [])
    assert (await found("Hors"), await found(""), await found("nothing")) == ([plain], [plain, room_id], [])


async def test_members_are_put_out_and_bans_taken_back(server: RunningServer, crew: Crew) -> None:
    """Who can't be put out is told of; a kick has nothing that takes it back."""
    bots = [await server.user(f"bot{number}") for number in range(3)]
    room_id = await crew.user.create_room(preset="public_chat")
    for bot in bots:
        await bot.join(room_id)
    visitor = await Visitor(server).log_in("the-moderator")
    path = f"{room_path(room_id)}/members"
    await visitor.get(path)
    assert bots[2].user_id in visitor.text() and f'action="{path}/act"' in visitor.page
    chosen = {f"pick_{number}": bot.user_id for number, bot in enumerate(bots[:2])} | {"act": "ban", "reason": "a wave"}
    assert (await visitor.post(path + "/act", chosen)).status == 200
    assert await memberships(crew.user, room_id, bots) == ["join"] * 3
    assert (await visitor.post(path + "/act", {**chosen, "step": "do", "pick_9": crew.user.user_id})).status == 200
    assert "Done with 2 of 3" in visitor.text(), "the room's creator stays"
    assert await memberships(crew.user, room_id, bots) == ["ban", "ban", "join"]
    back = offered_back(visitor)
    assert (await visitor.post(path + "/act", {**back, "reason": "a mistake"})).status in (200, 303)
    assert await memberships(crew.user, room_id, bots) == ["leave", "leave", "join"]
    await visitor.get(path)
    kick = {"pick_1": bots[2].user_id, "act": "kick", "reason": "a wave"}
    assert (await visitor.post(path + "/act", kick)).status == 200 and "It can't be taken back" in visitor.text()
    assert (await visitor.post(path + "/act", {**kick, "step": "do"})).status == 303
    assert await memberships(crew.user, room_id, bots) == ["leave"] * 3
    await visitor.get(f"{path}?membership=ban")
    assert (await visitor.post(path + "/act", {**kick, "act": "knock", "step": "do"})).status == 400
    acts = await server.db.fetch("SELECT action FROM audit_log WHERE action LIKE 'member.%' ORDER BY entry_nid")
    assert [row["action"] for row in acts] == ["member.ban"] * 3 + ["member.unban"] * 2 + ["member.kick"]


async def test_messages_are_redacted(server: RunningServer, crew: Crew) -> None:
    """The preview says what they say; what isn't there is told of; who may not read doesn't get to see it so."""
    room_id = await crew.user.create_room(preset="public_chat")
    events = [await crew.user.send(room_id, f"buy coins {number}") for number in range(3)]
    visitor = await Visitor(server).log_in("the-moderator")
    path = f"{room_path(room_id)}/timeline"
    await visitor.get(path)
    assert all(quote(one, safe="") in visitor.page for one in events)
    chosen = {f"pick_{number}": one for number, one in enumerate(events[:2])} | {"act": "redact", "reason": "a wave"}
    assert (await visitor.post(path + "/act", chosen)).status == 200
    assert "buy coins 0" in visitor.text() and "buy coins 2" not in visitor.text()

    async def contents() -> list[Any]:
        return [(await crew.user.get("/rooms/{}/event/{}", room_id, one)).ok()["content"] for one in events]

    assert all(await contents())
    assert (await visitor.post(path + "/act", {**chosen, "step": "do", "pick_9": "$nowhere"})).status == 200
    assert "Done with 2 of 3" in visitor.text()
    left = await contents()
    assert left[:2] == [{}, {}] and left[2]["body"] == "buy coins 2"
    await visitor.get(path)
    assert visitor.page.count('name="pick_') == len(await still_said(server, room_id))
    auditor = await Visitor(server).log_in("the-auditor")
    await auditor.get("/admin/rooms")
    assert (await auditor.post(path + "/act", chosen)).status == 403
    assert "buy coins" not in auditor.text()


async def still_said(server: RunningServer, room_id: str) -> list[str]:
    sql = "SELECT event_id FROM events JOIN rooms USING (room_nid) WHERE room_id = $1 AND redacted_by IS NULL"
    return [row["event_id"] for row in await server.db.fetch(sql, room_id)]
