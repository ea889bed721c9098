"""A moderator whose role is bound to rooms, at each endpoint; and what binds: spaces, actions, tokens."""

from __future__ import annotations

import re
from functools import partial
from html import unescape
from typing import Any
from urllib.parse import quote

import pytest

from admin.console.desk import WITHIN_ROOMS
from homeserver.core.operators import BINDABLE, PERMISSIONS, Permission, Role
from homeserver.web.endpoint import Access, Endpoint, Reach
from tests.admin.console.furnished import furnish, pages_of
from tests.admin.console.visitor import Visitor
from tests.admin.people import OPERATORS, Crew
from tests.admin.test_operators import entries
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

OTHER_ROOMS, WHOLE_SERVER = "your role is bound to other rooms", "your role is bound to rooms"
CASES, REPORTS = "/_hansa/admin/v1/cases", "/_synapse/admin/v1/event_reports"
ROOMS, USERS = "/_synapse/admin/v1/rooms", "/_synapse/admin/v2/users"
SPAM, TOKENS = "/_hansa/admin/v1/spam", "/_hansa/admin/v1/tokens"
# One body for all: each endpoint takes what it knows of it.
BODY: dict[str, Any] = {
    "text": "A note",
    "reason": "A reason",
    "why": "A reason",
    "acts": ["ban"],
    "assignee": None,
    "outcome": "nothing",
    "accepted": True,
    "is_spam": True,
    "block": True,
    "how": "invite",
    "seconds": 600,
    "name": "A name",
    "scopes": ["read_reports"],
}
# What nobody outside of a room may change there.
_LEFT = """
    SELECT (SELECT count(*) FROM reports), (SELECT count(*) FROM case_notes), (SELECT count(*) FROM blocked_rooms),
        (SELECT count(*) FROM cases WHERE is_open), (SELECT count(*) FROM spam_decisions WHERE undone_ts IS NULL),
        (SELECT count(*) FROM spam_marks), (SELECT count(*) FROM appeal_answers), (SELECT count(*) FROM admin_jobs),
        (SELECT count(*) FROM media_quarantine_changes),
        (SELECT count(*) FROM memberships WHERE membership IN ('ban', 'leave'))
"""


async def bound(crew: Crew, *room_ids: str, actions: list[str] | None = None) -> None:
    body: dict[str, Any] = {"role": "moderator", "reason": "These rooms alone"}
    if room_ids:
        body["rooms"] = list(room_ids)
    if actions is not None:
        body["actions"] = actions
    (await crew.owner.put(OPERATORS, crew.moderator.user_id, body=body)).ok()


async def program(server: RunningServer, operator: Client, wish: dict[str, Any]) -> Client:
    client = server.anonymous()
    client.token = (await operator.post(TOKENS, body=wish)).ok()["token"]
    return client


def for_operators(server: RunningServer) -> list[Endpoint]:
    return [declared for declared in server.hansa.endpoints if declared.access is Access.ADMIN]


def filled(path: str, ids: dict[str, str]) -> str:
    return re.sub(r"\{([a-z_]+)\}", lambda name: quote(ids.get(name[1], "none"), safe=""), path)


async def with_case(server: RunningServer, crew: Crew, room_id: str, who: Client) -> tuple[str, int, str]:
    """Somebody says something in a room, which is reported: the event, its case, the report."""
    event_id = await who.send(room_id, "Look at this")
    (await crew.admin.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": "No"})).ok()
    found = (await crew.owner.get(CASES, about=who.user_id)).ok()["cases"]
    report_id = await server.db.fetchval("SELECT report_id FROM reports WHERE target = $1", event_id)
    return event_id, int(found[0]["case_id"]), str(report_id)


async def room_for(server: RunningServer, crew: Crew, owner: Client, name: str) -> str:
    room_id = await owner.create_room(name=name, preset="public_chat")
    await crew.admin.join(room_id)
    await server.hansa.admin.rooms.overviews.write()
    return room_id


async def test_each_endpoint_says_which_rooms_it_is_about(server: RunningServer) -> None:
    """T-J2: one that doesn't is found here; until then it is closed to those who are bound."""
    for declared in for_operators(server):
        place = f"{declared.method} {declared.paths[0]}"
        assert declared.reach is not None, f"{place}: say reach=…, see homeserver.web.endpoint.Reach"
        if declared.reach is Reach.ROOM:
            assert all("{room_id}" in path for path in declared.paths), place


async def test_each_page_says_which_rooms_it_is_about(server: RunningServer) -> None:
    """T-J2: the same for the console; and the navigation of those who are bound leads to no closed page."""
    pages = [one for one in server.hansa.endpoints if one.paths[0].startswith("/admin")]
    open_to_all = {"/admin/static/{name}", "/admin/login", "/admin/code", "/admin/logout", "/admin/language"}
    for declared in pages:
        place = f"{declared.method} {declared.paths[0]}"
        assert (declared.reach is not None) != (declared.paths[0] in open_to_all), place
        assert declared.reach is not Reach.ROOM or "{room_id}" in declared.paths[0], place
    within = {one.paths[0] for one in pages if one.reach is Reach.WITHIN and one.method == "GET"}
    assert within >= WITHIN_ROOMS


@pytest.mark.slow
async def test_each_endpoint_by_a_moderator_of_another_room(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-I1, T-J4: nothing of a room that isn't theirs is told, and nothing there is changed."""
    visitor = await Visitor(server).log_in("owner")
    ids = await furnish(server, crew, "Plain text", visitor)
    own = await room_for(server, crew, await server.user("theirs"), "Their room")
    await bound(crew, own)
    await until(partial(_is_quiet, server))
    hidden = [ids["room_id"], ids["event_id"], crew.user.user_id, ids["media_id"]]
    before, seen = await server.db.fetchrow(_LEFT), set[Reach]()
    for declared in for_operators(server):
        held = declared.needs is not None and declared.needs in PERMISSIONS[Role.MODERATOR]
        if not held or declared.paths[0].startswith(TOKENS):
            continue
        path, place = filled(declared.paths[0], dict(ids)), f"{declared.method} {declared.paths[0]}"
        query = {"reason": "A reason"} if declared.method == "DELETE" else {}
        body = {**BODY, "rooms": [ids["room_id"]]}
        answer = await crew.moderator.request(declared.method, path, body=body, query=query)
        assert answer.status < 500, (place, answer.body)
        assert declared.reach is not None
        seen.add(declared.reach)
        if declared.reach is Reach.SERVER:
            assert answer.status == 403 and answer.json["error"].startswith(WHOLE_SERVER), (place, answer.body)
        elif declared.reach is Reach.ROOM:
            assert (answer.status, answer.json["error"]) == (403, OTHER_ROOMS), (place, answer.body)
        elif declared.reach is Reach.WITHIN:
            names_one = set(re.findall(r"\{([a-z_]+)\}", declared.paths[0])) - {"user_id"}
            assert not names_one or answer.status == 404, (place, answer.body)
            assert declared.method == "GET" or answer.status in (403, 404), (place, answer.body)
            # What was asked for by name is said again where it isn't found.
            told = answer.body.decode() if answer.status == 200 else ""
            assert not [one for one in hidden if one in told], (place, told)
    assert seen == {Reach.SERVER, Reach.ROOM, Reach.WITHIN, Reach.NONE}
    assert await server.db.fetchrow(_LEFT) == before


@pytest.mark.slow
async def test_each_page_by_a_moderator_of_another_room(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-I1: the same in the console, and no link leads to what is closed."""
    ids = await furnish(server, crew, "Plain text", await Visitor(server).log_in("owner"))
    own = await room_for(server, crew, await server.user("theirs"), "Their room")
    await bound(crew, own)
    visitor = await Visitor(server).log_in("the-moderator")
    hidden = [ids["room_id"], ids["event_id"], crew.user.user_id]
    for declared, path in pages_of(server, ids):
        answer = await visitor.get(path)
        if path == "/admin":
            assert (answer.status, answer.headers["Location"]) == (303, "/admin/cases")
        elif declared.reach is not Reach.WITHIN:
            assert answer.status == 403, path
        else:
            assert answer.status == (404 if "{" in declared.paths[0] else 200), path
            assert answer.status == 404 or not [one for one in hidden if one in visitor.text()], path
    await visitor.get("/admin/rooms")
    for link in re.findall(r'href="(/admin[^"?#]*)', visitor.page):
        if "/static/" not in link:
            assert (await visitor.get(link)).status in (200, 303), link


@pytest.mark.slow
async def test_no_link_of_their_own_rooms_is_closed(server: RunningServer, crew: Crew) -> None:
    """T-J2: with cases, decisions and reports of their own, whatever a page leads to can be read."""
    ids = await furnish(server, crew, "Plain text", await Visitor(server).log_in("owner"))
    await bound(crew, ids["room_id"])
    visitor = await Visitor(server).log_in("the-moderator")
    links: dict[str, str] = {}
    for declared, path in pages_of(server, ids):
        if declared.reach is Reach.WITHIN or declared.reach is Reach.ROOM:
            assert (await visitor.get(path)).status == 200, path
            # As a person follows them: without files to download.
            for link in re.findall(r'<a [^>]*href="(/admin[^"#]*)"(?! download)', visitor.page):
                links.setdefault(unescape(link), path)
    assert any("/decisions/" in link for link in links) and any("/cases/" in link for link in links)
    closed = [(page, link) for link, page in links.items() if (await visitor.get(link)).status not in (200, 303)]
    assert not closed


async def test_a_room_is_named_by_its_alias(server: RunningServer, crew: Crew) -> None:
    """T-J2: it stands for the room that had it then, so that moving it opens no other room."""
    owner = await server.user("keeper")
    own, other = await room_for(server, crew, owner, "Their room"), await room_for(server, crew, owner, "Another room")
    alias = "#theirs:hansa.test"
    (await owner.put("/directory/room/{}", alias, body={"room_id": own})).ok()
    await bound(crew, alias)
    assert [one["room_id"] for one in (await crew.moderator.get(ROOMS)).ok()["rooms"]] == [own]
    assert (await entries(crew.owner, limit=1))[0]["after"] == {"role": "moderator", "rooms": [own]}
    script = await program(server, crew.admin, {"name": "One", "scopes": ["read_rooms"], "rooms": [alias]})
    (await owner.delete("/directory/room/{}", alias)).ok()
    (await owner.put("/directory/room/{}", alias, body={"room_id": other})).ok()
    for who in (crew.moderator, script):
        assert [one["room_id"] for one in (await who.get(ROOMS)).ok()["rooms"]] == [own]
    wrong = {"role": "moderator", "rooms": ["#nowhere:hansa.test"]}
    refused = (await crew.owner.put(OPERATORS, crew.moderator.user_id, body=wrong)).refused(400, "M_INVALID_PARAM")
    assert "#nowhere:hansa.test" in refused["error"]


async def test_what_a_bound_moderator_may(server: RunningServer, crew: Crew) -> None:
    """T-J2: their own rooms as other moderators have all; a case of two rooms as far as theirs go."""
    rogue, owner = await server.user("rogue"), await server.user("keeper")
    own, other = await room_for(server, crew, owner, "Their room"), await room_for(server, crew, owner, "Another room")
    for room_id in (own, other):
        await rogue.join(room_id)
    mine, case_id, report_id = await with_case(server, crew, own, rogue)
    theirs, same_case, other_report = await with_case(server, crew, other, rogue)
    assert same_case == case_id
    await bound(crew, own)
    mod = crew.moderator
    assert [one["room_id"] for one in (await mod.get(ROOMS)).ok()["rooms"]] == [own]
    assert (await mod.get(ROOMS)).ok()["total_rooms"] == 1
    told = {one["name"] for one in (await mod.get(USERS)).ok()["users"]}
    assert told == {crew.admin.user_id, rogue.user_id, owner.user_id}
    assert [one["event_id"] for one in (await mod.get(REPORTS)).ok()["event_reports"]] == [mine]
    (await mod.get(REPORTS + "/{}", report_id)).ok()
    (await mod.get(REPORTS + "/{}", other_report)).refused(404, "M_NOT_FOUND")
    (await mod.delete(REPORTS + "/{}", other_report)).refused(404, "M_NOT_FOUND")
    case = (await mod.get(CASES + "/{}", str(case_id))).ok()
    assert case["rooms"] == [own] and [one["target"] for one in case["reported"]] == [mine]
    assert [one["event_id"] for one in case["evidence"]] == [mine] and case["reports"] == 1
    assert "suspend" not in case["possible_acts"] and "ban" in case["possible_acts"]
    acts = {"acts": ["redact", "ban"], "reason": "Spam"}
    (await mod.post(CASES + "/{}/acts", str(case_id), body=acts)).ok()
    assert (await crew.admin.get("/rooms/{}/state/m.room.member/{}", own, rogue.user_id)).ok()["membership"] == "ban"
    other_member = (await crew.admin.get("/rooms/{}/state/m.room.member/{}", other, rogue.user_id)).ok()
    assert other_member["membership"] == "join"
    assert (await crew.admin.get("/rooms/{}/event/{}", other, theirs)).ok()["content"]["body"] == "Look at this"
    closing = await mod.post(CASES + "/{}/close", str(case_id), body={"outcome": "acted"})
    closing.refused(403, "M_FORBIDDEN")
    (await mod.put("/_synapse/admin/v1/suspend/{}", rogue.user_id, body={"suspend": True})).refused(403, "M_FORBIDDEN")
    (await mod.put("/_synapse/admin/v1/rooms/{}/block", own, body={"block": True})).ok()
    (await crew.owner.delete(REPORTS + "/{}", other_report)).ok()
    (await mod.post(CASES + "/{}/close", str(case_id), body={"outcome": "acted"})).ok()


async def test_the_notes_of_a_case_of_many_rooms_are_ones_own(server: RunningServer, crew: Crew) -> None:
    rogue, owner = await server.user("rogue"), await server.user("keeper")
    own, other = await room_for(server, crew, owner, "Their room"), await room_for(server, crew, owner, "Another room")
    for room_id in (own, other):
        await rogue.join(room_id)
    _, case_id, _ = await with_case(server, crew, own, rogue)
    await with_case(server, crew, other, rogue)
    (await crew.admin.post(CASES + "/{}/notes", str(case_id), body={"text": "As in the other room"})).ok()
    await bound(crew, own)
    (await crew.moderator.post(CASES + "/{}/notes", str(case_id), body={"text": "Seen here"})).ok()
    shown = (await crew.moderator.get(CASES + "/{}", str(case_id))).ok()["notes"]
    assert [one["text"] for one in shown] == ["Seen here"]
    assert len((await crew.admin.get(CASES + "/{}", str(case_id))).ok()["notes"]) == 2


async def test_redacting_everything_stays_within_the_rooms(server: RunningServer, crew: Crew) -> None:
    """T-J2, T-J4: without rooms those of the moderator are meant, and a room of others can't be named."""
    rogue, owner = await server.user("rogue"), await server.user("keeper")
    own, other = await room_for(server, crew, owner, "Their room"), await room_for(server, crew, owner, "Another room")
    for room_id in (own, other):
        await rogue.join(room_id)
    gone, stays = await rogue.send(own, "Spam"), await rogue.send(other, "Spam")
    await bound(crew, own)
    path = "/_synapse/admin/v1/user/{}/redact"
    (await crew.moderator.post(path, rogue.user_id, body={"rooms": [other]})).refused(403, "M_FORBIDDEN")
    job_id = (await crew.moderator.post(path, rogue.user_id, body={"rooms": []})).ok()["redact_id"]

    async def is_done() -> bool:
        status = (await crew.moderator.get("/_synapse/admin/v1/user/redact_status/{}", job_id)).ok()["status"]
        return bool(status == "complete")

    await until(is_done, within_s=60)
    assert "body" not in (await crew.admin.get("/rooms/{}/event/{}", own, gone)).ok()["content"]
    assert (await crew.admin.get("/rooms/{}/event/{}", other, stays)).ok()["content"]["body"] == "Spam"


async def test_a_spaces_rooms_count_where_both_say_so(server: RunningServer, crew: Crew) -> None:
    """T-J2: who has a say in the space can't put just any room under it; what is taken out of it counts no more."""
    owner = await server.user("keeper")
    space = await owner.create_room(name="Space", creation_content={"type": "m.space"})
    room_id, claimed = await room_for(server, crew, owner, "In it"), await room_for(server, crew, owner, "Claimed")
    via = {"via": ["hansa.test"]}
    for child in (room_id, claimed):
        (await owner.put("/rooms/{}/state/m.space.child/{}", space, child, body=via)).ok()
    await bound(crew, space)

    async def seen() -> set[str]:
        return {one["room_id"] for one in (await crew.moderator.get(ROOMS)).ok()["rooms"]}

    async def sees(wanted: set[str]) -> bool:
        return await seen() == wanted

    await until(partial(sees, {space}))
    (await owner.put("/rooms/{}/state/m.space.parent/{}", room_id, space, body=via)).ok()
    await until(partial(sees, {space, room_id}))
    (await crew.moderator.get(ROOMS + "/{}/members", room_id)).ok()
    (await crew.moderator.get(ROOMS + "/{}/members", claimed)).refused(403, "M_FORBIDDEN")
    tree = (await crew.moderator.get(ROOMS + "/{}/hierarchy", space)).ok()
    assert claimed not in str(tree) and room_id in str(tree)
    (await owner.put("/rooms/{}/state/m.space.child/{}", space, room_id, body={})).ok()
    await until(partial(sees, {space}))


async def test_actions_bind_as_well(server: RunningServer, crew: Crew) -> None:
    """T-J2: what isn't on the list isn't held, by the API, by a token or in the console."""
    room_id = await room_for(server, crew, crew.user, "Any room")
    await bound(crew, actions=["read_rooms", "read_reports", "own_tokens"])
    mod = crew.moderator
    (await mod.get(ROOMS + "/{}", room_id)).ok()
    (await mod.put("/_synapse/admin/v1/rooms/{}/block", room_id, body={"block": True})).refused(403, "M_FORBIDDEN")
    (await mod.get(ROOMS + "/{}/messages", room_id)).refused(403, "M_FORBIDDEN")
    wish = {"name": "Mine", "scopes": ["moderate_rooms"]}
    (await mod.post(TOKENS, body=wish)).refused(403, "M_FORBIDDEN")
    visitor = await Visitor(server).log_in("the-moderator")
    assert (await visitor.get("/admin/rooms")).status == 200
    assert (await visitor.get("/admin/spam")).status == 403
    assert 'href="/admin/spam"' not in visitor.page


async def test_a_token_only_narrows(server: RunningServer, crew: Crew) -> None:
    """T-J2: neither rooms nor actions that the operator hasn't, nor those that are taken from them later."""
    first, second = await room_for(server, crew, crew.user, "First"), await room_for(server, crew, crew.user, "Second")
    wish = {"name": "One room", "scopes": ["read_rooms", "moderate_rooms"], "rooms": [first]}
    of_admin = await program(server, crew.admin, wish)
    await bound(crew, first, second)
    of_moderator = await program(server, crew.moderator, wish)
    for script in (of_admin, of_moderator):
        assert [one["room_id"] for one in (await script.get(ROOMS)).ok()["rooms"]] == [first]
        (await script.get(ROOMS + "/{}", second)).refused(403, "M_FORBIDDEN")
        (await script.get("/_synapse/admin/v1/statistics/users/media")).refused(403, "M_FORBIDDEN")
    await bound(crew, second)
    assert (await of_moderator.get(ROOMS)).ok()["rooms"] == []
    (await of_moderator.get(ROOMS + "/{}", first)).refused(403, "M_FORBIDDEN")
    wrong = {**wish, "rooms": ["no room"]}
    (await crew.moderator.post(TOKENS, body=wrong)).refused(400, "M_INVALID_PARAM")


async def test_what_binds_is_checked_and_written_down(crew: Crew) -> None:
    """T-J16: the log has what a role was bound to before and after; only a moderator's is."""
    room_id = await crew.user.create_room()
    path, mod = OPERATORS, crew.moderator.user_id
    for wrong in (
        {"role": "admin", "rooms": [room_id]},
        {"role": "moderator", "rooms": []},
        {"role": "moderator", "rooms": ["#alias:hansa.test"]},
        {"role": "moderator", "actions": []},
        {"role": "moderator", "actions": ["end_users"]},
    ):
        (await crew.owner.put(path, mod, body=wrong)).refused(400, "M_INVALID_PARAM")
    await bound(crew, room_id, actions=["read_rooms"])
    newest = (await entries(crew.owner, limit=1))[0]
    assert newest["before"] == {"role": "moderator"}
    assert newest["after"] == {"role": "moderator", "rooms": [room_id], "actions": ["read_rooms"]}
    told = {one["user_id"]: one for one in (await crew.auditor.get("/_hansa/admin/v1/operators")).ok()["operators"]}
    assert (told[mod]["rooms"], told[mod]["permissions"]) == ([room_id], ["read_rooms"])
    await bound(crew)
    assert (await entries(crew.owner, limit=1))[0]["after"] == {"role": "moderator"}
    assert Permission.READ_ROOMS in BINDABLE


async def _is_quiet(server: RunningServer) -> bool:
    return not await server.db.fetchval("SELECT count(*) FROM admin_jobs WHERE state IN ('scheduled', 'active')")
