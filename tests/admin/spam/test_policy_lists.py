"""Policy list rooms that are followed keep users, servers and rooms out, by name, glob and hash."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, ClassVar, cast

import pytest

from admin.spam.facts import Happening
from admin.spam.list_acls import acl_of
from admin.spam.list_rules import ListRule, digest, rule_of
from admin.spam.policy_lists import Bans
from homeserver.core.identifiers import RoomId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.rooms.residents import Room
from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_rules_over_http import SPAM, latest
from tests.kit.dag import make_event
from tests.kit.foreign_members import join_foreign
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

LISTS = SPAM + "/policy_lists/{}"


def hashed(name: str) -> str:
    return base64.b64encode(hashlib.sha256(name.encode()).digest()).decode()


def rule(kind: str, **content: Any) -> dict[str, Any]:
    return {"type": f"m.policy.rule.{kind}", "content": {"recommendation": "m.ban", **content}}


@pytest.mark.parametrize(
    ("given", "is_out"),
    [
        (rule("user", entity="@eve:bad.example", reason="spam"), True),
        (rule("user", entity="@e?e:*.example"), True),
        (rule("user", entity="@EVE:bad.example"), False),
        (rule("user", entity="@eve:bad.exampl"), False),
        (rule("user", entity="@eve:bad.exampl[e]"), False),  # no other signs mean anything
        (rule("user", **{"org.matrix.msc4205.hashes": {"sha256": hashed("@eve:bad.example")}}), True),
        (rule("server", hashes={"sha256": hashed("bad.example")}), True),
        (rule("server", entity="*.example"), True),
        (rule("server", entity="bad"), False),
        (rule("user", entity="@eve:bad.example", recommendation="m.think"), False),
        (rule("user", entity=5), False),
        (rule("user", entity="*" * 600), False),
        (rule("cat", entity="@eve:bad.example"), False),
        ({"type": "m.policy.rule.user", "content": {}}, False),
    ],
)
def test_what_a_rule_keeps_out(given: dict[str, Any], is_out: bool) -> None:
    what = Happening(hook="remote_event", sender="@eve:bad.example", at_s=0, room_id="!r:here.example")
    read = rule_of(given["type"], given["content"])
    assert (Bans([read] if read is not None else []).why(what) is not None) is is_out


@pytest.mark.parametrize("prefix", ["m.policy.rule.", "org.matrix.mjolnir.rule.", "m.room.rule."])
@pytest.mark.parametrize("recommendation", ["m.ban", "org.matrix.mjolnir.ban", "org.matrix.msc4204.takedown"])
def test_older_spellings_are_read(prefix: str, recommendation: str) -> None:
    """Lists that Mjolnir and Draupnir began years ago hold all of these."""
    read = rule_of(prefix + "server", {"entity": "bad.example", "recommendation": recommendation})
    assert read is not None
    assert Bans([read]).match("server", "bad.example") is not None


@pytest.mark.parametrize("name", ["bad.example:8449", "BAD.example", "bad.example.", "Bad.Example:443"])
@pytest.mark.parametrize(
    "given",
    [
        rule("server", entity="bad.example"),
        rule("server", entity="Bad.example"),
        rule("server", entity="*d.Example"),
        rule("server", hashes={"sha256": hashed("bad.example")}),
    ],
)
def test_a_server_is_the_same_at_another_port(given: dict[str, Any], name: str) -> None:
    """As for ACLs: who is kept out doesn't come back by the next port, or spelt otherwise."""
    read = rule_of(given["type"], given["content"])
    assert read is not None
    bans = Bans([read], own="here.example")
    assert bans.why(Happening(hook="remote_event", sender=f"@eve:{name}", at_s=0, room_id="!r:here.example"))
    assert bans.match("server", "worse-bad.examples") is None


@pytest.mark.parametrize(
    ("entity", "is_out"),
    [("@*:bad.example", False), ("@*:bad.example:8448", True), ("@*:bad.example*", True), ("@*:bad.example?*", True)],
)
def test_globs_of_users_go_by_the_whole_name(entity: str, is_out: bool) -> None:
    """As for the bots that these lists are made with: a port is a part of a user's name; servers go by host."""
    bans = Bans([ListRule(kind="user", entity=entity)])
    assert (bans.match("user", "@eve:bad.example:8448") is not None) is is_out


def test_hashed_servers_are_told_to_acls_where_they_are() -> None:
    """An ACL knows no hashes: of those that are there, the names that are meant."""
    bans = Bans(
        [ListRule(kind="server", sha256=digest(name)) for name in ("bad.example", "here.example")], own="here.example"
    )
    assert bans.servers() == []
    assert bans.servers(["bad.example:8449", "good.example", "here.example", "here.example:8449"]) == ["bad.example"]


def test_no_list_keeps_this_server_out_of_itself() -> None:
    """A list that somebody else writes must not be able to shut us off."""
    own = Bans([ListRule(kind="server", entity="*"), ListRule(kind="server", entity="bad.example")], own="here.example")
    assert own.match("server", "here.example") is None
    assert own.match("server", "there.example") is not None
    assert own.servers() == ["bad.example"]


async def test_a_list_that_is_followed_is_applied(server: RunningServer, crew: Crew) -> None:
    mallory, host = await server.user("mallory"), await server.user("host")
    watched = await host.create_room(preset="public_chat")
    room_id = await crew.moderator.create_room(name="bans")
    (await crew.auditor.put(LISTS, room_id)).refused(403, "M_FORBIDDEN")
    (await crew.moderator.put(LISTS, "!nowhere:hansa.test")).refused(404, "M_NOT_FOUND")
    (await crew.moderator.put(LISTS, room_id)).ok()
    state = "/rooms/{}/state/m.policy.rule.{}/{}"
    path = state.replace("m.policy.rule.{}", "m.policy.rule.user")
    content = {"entity": "@mall*:hansa.test", "recommendation": "m.ban", "reason": "waves"}
    (await crew.moderator.put(path, room_id, "one", body=content)).ok()

    async def is_out() -> bool:
        if (await mallory.post("/join/{}", watched)).status == 403:
            return True
        (await mallory.post("/rooms/{}/leave", watched)).ok()
        return False

    await until(is_out)
    refused = (await host.post("/rooms/{}/invite", watched, body={"user_id": mallory.user_id})).refused(
        403, "M_FORBIDDEN"
    )
    assert "waves" in refused["error"]
    assert {one["rule_id"] for one in await latest(crew)} == {"policy-list"}
    (await crew.moderator.put(path, room_id, "one", body={})).ok()

    async def is_in() -> bool:
        return (await mallory.post("/join/{}", watched)).status == 200

    await until(is_in)
    (await crew.moderator.delete(LISTS, room_id)).ok()
    (await crew.moderator.delete(LISTS, room_id)).refused(404, "M_NOT_FOUND")


GROUP = SPAM + "/room_groups/{}"
ENTRIES = LISTS + "/entries"
ACL = "/rooms/{}/state/m.room.server_acl/"


async def new_list(client: Client, **body: Any) -> str:
    room_id: str = (await client.post(SPAM + "/policy_lists", body={"name": "waves", **body})).ok()["room_id"]
    return room_id


async def add(client: Client, room_id: str, kind: str, entity: str, **fields: Any) -> str:
    body = {"kind": kind, "entity": entity, **fields}
    event_id: str = (await client.post(ENTRIES, room_id, body=body)).ok()["event_id"]
    return event_id


async def test_a_list_of_our_own_is_what_bots_read(server: RunningServer, crew: Crew) -> None:
    room_id = await new_list(crew.moderator, alias="waves")
    create = (await crew.moderator.get("/rooms/{}/state/m.room.create/", room_id)).ok()
    assert create["type"] == "m.policy"
    shortcode = (await crew.moderator.get("/rooms/{}/state/org.matrix.mjolnir.shortcode/", room_id)).ok()
    assert shortcode == {"shortcode": "waves"}
    event_id = await add(crew.moderator, room_id, "user", "@mall*:bad.example", reason="waves")
    event = (await crew.moderator.get("/rooms/{}/event/{}", room_id, event_id)).ok()
    assert (event["type"], event["sender"]) == ("m.policy.rule.user", crew.moderator.user_id)
    assert event["content"] == {"entity": "@mall*:bad.example", "recommendation": "m.ban", "reason": "waves"}
    # Another operator's entry is written by the list's strongest member, as only members can write.
    await add(crew.admin, room_id, "server", "bad.example", recommendation="takedown")
    hidden = await add(crew.moderator, room_id, "user", "@eve:bad.example", hashed=True)
    content = (await crew.moderator.get("/rooms/{}/event/{}", room_id, hidden)).ok()["content"]
    assert content["org.matrix.msc4205.hashes"] == {"sha256": hashed("@eve:bad.example").rstrip("=")}
    assert "entity" not in content
    found = (await crew.auditor.get(ENTRIES, room_id)).ok()
    assert [(one["kind"], one["entity"]) for one in found["entries"]] == [
        ("server", "bad.example"),
        ("user", None),
        ("user", "@mall*:bad.example"),
    ]
    actions = (await crew.auditor.get("/_hansa/admin/v1/audit", target=room_id)).ok()["entries"]
    assert [one["actor"] for one in actions] == [crew.moderator.user_id, crew.admin.user_id, crew.moderator.user_id]


async def test_entries_go_in_every_spelling(server: RunningServer, crew: Crew) -> None:
    room_id = await new_list(crew.moderator)
    await add(crew.moderator, room_id, "user", "@eve:bad.example")
    await add(crew.moderator, room_id, "user", "@eve:bad.example", hashed=True)
    old = {"entity": "@eve:bad.example", "recommendation": "org.matrix.mjolnir.ban", "reason": "old"}
    path = "/rooms/{}/state/org.matrix.mjolnir.rule.user/{}"
    (await crew.moderator.put(path, room_id, "rule:@eve:bad.example", body=old)).ok()
    gone = await crew.moderator.request(
        "DELETE", ENTRIES, room_id, query={"kind": "user", "entity": "@eve:bad.example"}
    )
    # The hashed entry took the place of the plain one: both have the state key that bots give it.
    assert gone.ok() == {"removed": 2}
    assert (await crew.auditor.get(ENTRIES, room_id)).ok()["entries"] == []
    again = await crew.moderator.request(
        "DELETE", ENTRIES, room_id, query={"kind": "user", "entity": "@eve:bad.example"}
    )
    again.refused(404, "M_NOT_FOUND")


@pytest.mark.parametrize(
    ("kind", "entity", "hint"),
    [
        ("server", "*", "would keep hansa.test out"),
        ("server", "hansa.*", "would keep hansa.test out"),
        ("user", "@*:hansa.test", "would keep @the-moderator:hansa.test out"),
        ("room", "*", "matches everything"),
        ("user", "eve", "must name a user"),
        ("user", "@eve :x", "must name a user"),
        ("server", "x" * 600, "must name a server"),
    ],
)
async def test_what_no_list_of_ours_may_say(
    server: RunningServer, crew: Crew, kind: str, entity: str, hint: str
) -> None:
    """T-J15: one slip must not shut out this server, or everybody."""
    room_id = await new_list(crew.moderator)
    refused = await crew.moderator.post(ENTRIES, room_id, body={"kind": kind, "entity": entity})
    assert hint in refused.refused(400, "M_INVALID_PARAM")["error"]


async def test_who_may_write_lists(server: RunningServer, crew: Crew) -> None:
    room_id = await new_list(crew.moderator)
    body = {"kind": "user", "entity": "@eve:bad.example"}
    for client in (crew.auditor, crew.user):
        (await client.post(ENTRIES, room_id, body=body)).refused(403, "M_FORBIDDEN")
        (await client.post(SPAM + "/policy_lists", body={"name": "x"})).refused(403, "M_FORBIDDEN")
        (await client.put(GROUP, "x", body={"rooms": [], "lists": []})).refused(403, "M_FORBIDDEN")
    (await crew.moderator.post(ENTRIES, "!other:hansa.test", body=body)).refused(404, "M_NOT_FOUND")


async def denied(client: Client, room_id: str) -> list[str] | None:
    answer = await client.get(ACL, room_id)
    return answer.ok()["deny"] if answer.status == 200 else None


async def test_a_group_of_rooms_follows_its_lists(server: RunningServer, crew: Crew) -> None:
    """ACLs and bans in the rooms of the group, and nowhere else; what the room denies by itself stays."""
    host, mallory = await server.user("host"), await server.user("mallory")
    inside = await host.create_room(preset="public_chat")
    outside = await host.create_room(preset="public_chat")
    for room_id in (inside, outside):
        await mallory.join(room_id)
    acl = {"allow": ["*"], "deny": ["own.example"], "allow_ip_literals": True}
    (await host.put(ACL, inside, body=acl)).ok()
    room_id = await new_list(crew.moderator)
    (await crew.moderator.put(LISTS, room_id, body={"everywhere": False})).ok()
    body = {"rooms": [inside], "lists": [room_id], "bans_members": True}
    (await crew.moderator.put(GROUP, "all", body={**body, "lists": ["!no:x"]})).refused(404, "M_NOT_FOUND")
    (await crew.moderator.put(GROUP, "all", body=body)).ok()
    (await crew.moderator.put(GROUP, "two", body=body)).refused(400, "M_INVALID_PARAM")
    assert (await crew.auditor.get(SPAM + "/room_groups")).ok()["groups"] == [{"name": "all", **body}]
    await add(crew.moderator, room_id, "server", "*.bad.example")
    await add(crew.moderator, room_id, "user", mallory.user_id, reason="waves")

    async def is_applied() -> bool:
        member = (await host.get("/rooms/{}/state/m.room.member/{}", inside, mallory.user_id)).ok()
        return await denied(host, inside) == ["own.example", "*.bad.example"] and member["membership"] == "ban"

    await until(is_applied)
    assert (await host.get(ACL, inside)).ok()["allow_ip_literals"] is True
    assert await denied(host, outside) is None
    await mallory.send(outside, "still here")
    (await crew.moderator.delete(LISTS, room_id)).refused(400, "M_INVALID_PARAM")
    query = {"kind": "server", "entity": "*.bad.example"}
    (await crew.moderator.request("DELETE", ENTRIES, room_id, query=query)).ok()

    async def is_taken_back() -> bool:
        return await denied(host, inside) == ["own.example"]

    await until(is_taken_back)
    await add(crew.moderator, room_id, "server", "worse.example")

    async def is_denied() -> bool:
        return await denied(host, inside) == ["own.example", "worse.example"]

    await until(is_denied)
    (await crew.moderator.delete(GROUP, "all")).ok()
    await until(is_taken_back)
    (await crew.moderator.delete(GROUP, "all")).refused(404, "M_NOT_FOUND")


async def test_a_hashed_server_comes_on_the_acl_of_rooms_that_it_is_in(server: RunningServer, crew: Crew) -> None:
    """By its name, as an ACL knows no others; it stays when nobody of it is left, and elsewhere nothing is told."""
    inside, beside = await crew.user.create_room(), await crew.user.create_room()
    await join_foreign(server, inside, ["@eve:bad.example", "@gil:good.example"])
    room_id = await new_list(crew.moderator)
    (await crew.moderator.put(GROUP, "all", body={"rooms": [inside, beside], "lists": [room_id]})).ok()
    await add(crew.moderator, room_id, "server", "bad.example", hashed=True)

    async def is_denied() -> bool:
        return await denied(crew.user, inside) == ["bad.example"]

    await until(is_denied)
    await server.db.execute("DELETE FROM memberships WHERE user_id = '@eve:bad.example'")
    server.hansa.rooms.rooms.drop(RoomId(inside))
    await add(crew.moderator, room_id, "server", "worse.example")

    async def is_denied_still() -> bool:
        return await denied(crew.user, inside) == ["bad.example", "worse.example"]

    await until(is_denied_still)

    async def is_denied_beside() -> bool:  # its turn comes after that of the first room
        return await denied(crew.user, beside) == ["worse.example"]

    await until(is_denied_beside)


async def test_a_hashed_server_is_told_to_the_acl_when_it_comes(server: RunningServer, crew: Crew) -> None:
    """At its first event of any kind: it is refused here, and the ACL has other servers refuse it as well."""
    inside, beside = await crew.user.create_room(), await crew.user.create_room()
    room_id = await new_list(crew.moderator)
    (await crew.moderator.put(GROUP, "all", body={"rooms": [inside, beside], "lists": [room_id]})).ok()
    await add(crew.moderator, room_id, "server", "bad.example", hashed=True)

    async def is_in_force() -> bool:
        return server.hansa.spam.lists.applied.size > 0

    await until(is_in_force)
    for name in ("good.example", "BAD.example:8449"):
        sender = f"@eve:{name}"
        join = make_event(
            ROOM_VERSIONS["12"],
            type="m.room.member",
            sender=sender,
            state_key=sender,
            content={"membership": "join"},
            room_id=inside,
        )
        [why] = await server.hansa.spam.gate.screen(RoomId(inside), [join])
        assert (why is None) is (name == "good.example")

    async def is_denied() -> bool:
        return await denied(crew.user, inside) == ["bad.example"]

    await until(is_denied)
    assert await denied(crew.user, beside) is None


async def test_groups_are_applied_after_a_restart(database_dsn: str) -> None:
    """What was in the lists while we were away is applied once we are back."""
    async with running_server(database_dsn) as server:
        crew = await crew_of(server)
        inside = await crew.user.create_room()
        room_id = await new_list(crew.moderator)
        (await crew.moderator.put(GROUP, "all", body={"rooms": [inside], "lists": [room_id]})).ok()
        server.hansa.spam.groups.apply = never  # type: ignore[method-assign]
        await add(crew.moderator, room_id, "server", "bad.example")
    async with running_server(database_dsn) as server:
        user = await server.login("user")

        async def is_denied() -> bool:
            return await denied(user, inside) == ["bad.example"]

        await until(is_denied)


async def never() -> None:
    return None


def test_an_acl_that_holds_anything_is_brought_in_line() -> None:
    """What others wrote there, whatever it is, stays; what lists put there goes when they don't say it any more."""

    class OfAnything:
        content: ClassVar[dict[str, Any]] = {"deny": [["odd"], {"odd": 1}, 5, "own.test", "gone.test"]}

        def known_state(self, event_type: str) -> Any:
            return self

    room = cast(Room, OfAnything())
    changed = acl_of(room, ["gone.test"], ["new.test", "own.test"])
    assert changed == {"deny": [["odd"], {"odd": 1}, 5, "own.test", "new.test"]}
