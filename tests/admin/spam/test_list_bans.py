"""Bans that policy lists make are lifted when the lists say so no more: those alone, once, restarts or not."""

from __future__ import annotations

from tests.admin.people import Crew, crew_of
from tests.admin.spam.test_actions import membership, room_with
from tests.admin.spam.test_policy_lists import ENTRIES, GROUP, LISTS, add, denied, never, new_list
from tests.kit.server import Client, RunningServer, running_server
from tests.kit.until import until

AUDIT = "/_hansa/admin/v1/audit"


async def group(crew: Crew, rooms: list[str], lists: list[str], *, bans: bool = True) -> None:
    for room_id in lists:
        (await crew.moderator.put(LISTS, room_id, body={"everywhere": False})).ok()
    body = {"rooms": rooms, "lists": lists, "bans_members": bans}
    (await crew.moderator.put(GROUP, "all", body=body)).ok()


async def drop(crew: Crew, room_id: str, kind: str, entity: str) -> None:
    (await crew.moderator.request("DELETE", ENTRIES, room_id, query={"kind": kind, "entity": entity})).ok()


async def comes_to(client: Client, room_id: str, user_id: str, wanted: str) -> None:
    async def is_so() -> bool:
        return await membership(client, room_id, user_id) == wanted

    await until(is_so)


async def test_a_ban_goes_with_its_entry_and_bans_by_hand_stay(server: RunningServer, crew: Crew) -> None:
    """Of three whom one glob names: one banned by the list, one before by hand, one by hand in place of the list's."""
    wave = [await server.user(f"wave{number}") for number in range(3)]
    host = crew.user
    inside, outside = await room_with(host, *wave), await room_with(host, *wave)
    first, before, since = (one.user_id for one in wave)
    ban = "/rooms/{}/ban"
    (await host.post(ban, inside, body={"user_id": before, "reason": "by hand"})).ok()
    room_id = await new_list(crew.moderator)
    await group(crew, [inside], [room_id])
    await add(crew.moderator, room_id, "user", "@wave*:hansa.test", reason="waves")
    for user_id in (first, since):
        await comes_to(host, inside, user_id, "ban")
    (await host.post(ban, inside, body={"user_id": since, "reason": "and by hand"})).ok()
    await drop(crew, room_id, "user", "@wave*:hansa.test")
    await comes_to(host, inside, first, "leave")
    assert [await membership(host, inside, one) for one in (before, since)] == ["ban", "ban"]
    assert await membership(host, outside, first) == "join"

    async def is_told() -> bool:
        entries = (await crew.auditor.get(AUDIT, target=first)).ok()["entries"]
        return [(one["actor"], one["action"]) for one in entries] == [
            ("hansa", "room.list_unban"),
            ("hansa", "room.list_ban"),
        ]

    await until(is_told)
    # A second round finds nothing to do.
    await server.hansa.spam.groups.apply()
    assert await membership(host, inside, first) == "leave"
    assert await server.db.fetchval("SELECT count(*) FROM spam_list_bans") == 0
    await wave[0].join(inside)
    await add(crew.moderator, room_id, "user", first, reason="again")
    await comes_to(host, inside, first, "ban")


async def test_a_ban_stands_while_another_list_of_the_room_says_so(server: RunningServer, crew: Crew) -> None:
    mallory = await server.user("mallory")
    inside = await room_with(crew.user, mallory)
    lists = [await new_list(crew.moderator), await new_list(crew.moderator)]
    await group(crew, [inside], lists)
    for room_id in lists:
        await add(crew.moderator, room_id, "user", mallory.user_id)
        await add(crew.moderator, room_id, "server", "bad.example")
    await comes_to(crew.user, inside, mallory.user_id, "ban")
    await drop(crew, lists[0], "user", mallory.user_id)
    await drop(crew, lists[0], "server", "bad.example")
    await server.hansa.spam.groups.apply()
    assert await membership(crew.user, inside, mallory.user_id) == "ban"
    assert await denied(crew.user, inside) == ["bad.example"]
    # Without the group, no list says anything there.
    (await crew.moderator.delete(GROUP, "all")).ok()
    await comes_to(crew.user, inside, mallory.user_id, "leave")

    async def is_open() -> bool:
        return await denied(crew.user, inside) == []

    await until(is_open)

    async def is_told() -> bool:
        entries = (await crew.auditor.get(AUDIT, target=inside)).ok()["entries"]
        return [(one["action"], one["before"]["gone"], one["after"]["new"]) for one in entries] == [
            ("room.list_acl", ["bad.example"], []),
            ("room.list_acl", [], ["bad.example"]),
        ]

    await until(is_told)


async def test_what_was_dropped_while_the_server_was_away_is_lifted(database_dsn: str) -> None:
    """Also a ban that was sent, and of which the server stopped before it wrote down that it was its own."""
    async with running_server(database_dsn) as server:
        crew = await crew_of(server)
        wave = [await server.user(f"wave{number}") for number in range(2)]
        inside = await room_with(crew.user, *wave)
        room_id = await new_list(crew.moderator)
        await group(crew, [inside], [room_id])
        await add(crew.moderator, room_id, "user", "@wave*:hansa.test")
        for one in wave:
            await comes_to(crew.user, inside, one.user_id, "ban")

        async def are_written_down() -> bool:
            return bool(await server.db.fetchval("SELECT count(*) FROM spam_list_bans WHERE event_id <> ''") == 2)

        await until(are_written_down)
        server.hansa.spam.groups.apply = never  # type: ignore[method-assign]
        await drop(crew, room_id, "user", "@wave*:hansa.test")
        await server.db.execute("UPDATE spam_list_bans SET event_id = '' WHERE user_id = $1", wave[0].user_id)
    async with running_server(database_dsn) as server:
        user = await server.login("user")
        for one in wave:
            await comes_to(user, inside, one.user_id, "leave")
