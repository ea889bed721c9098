"""Lists by each order: the pages put together are the whole list, once, and totals are counted again after a while."""

from __future__ import annotations

from typing import Any

import pytest

from admin.storage import accounts, room_overviews
from admin.storage.accounts import ORDERS
from admin.storage.room_overviews import ORDERS as ROOM_ORDERS
from admin.totals import KEPT_FROM, KEPT_S, Totals
from tests.admin.people import Crew
from tests.kit.clock import FakeClock
from tests.kit.server import Client, RunningServer

USERS, ROOMS = "/_synapse/admin/v3/users", "/_synapse/admin/v1/rooms"


@pytest.mark.slow
async def test_pages_by_each_order_are_the_whole_list(server: RunningServer, crew: Crew) -> None:
    """Nobody is told twice or left out, also where an order has two parts."""
    for name in ("ann", "ben", "cat"):
        await server.user(name)
    owner, target = crew.owner, "/_synapse/admin/v2/users/{}"
    (await owner.put(target, crew.user.user_id, body={"displayname": "Zoe", "user_type": "bot"})).ok()
    (await owner.put(target, "@ann:hansa.test", body={"locked": True})).ok()
    everybody = {one["name"] for one in (await owner.get(USERS, locked="true", limit="100")).ok()["users"]}
    assert len(everybody) == 8
    for order in sorted(ORDERS):
        for way in ("f", "b"):
            told: list[str] = []
            page: dict[str, Any] = {"next_token": "0"}
            while "next_token" in page:
                query = {"locked": "true", "limit": "3", "order_by": order, "dir": way, "from": page["next_token"]}
                page = (await owner.get(USERS, **query)).ok()
                assert page["total"] == 8
                told += [one["name"] for one in page["users"]]
            assert sorted(told) == sorted(everybody), (order, way, told)


@pytest.mark.slow
async def test_pages_of_a_term_are_the_whole_list(
    server: RunningServer, crew: Crew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-J4: whether many have it or few, nobody is told twice or left out; of many more than a page is said so."""
    for name in ("zebra-one", "zebra-two", "plain"):
        await server.user(name)
    names = ("Zebra crossing", "A zebra", "Garden", "ZEBRAS", "zebra zebra", "Zebra 斑马")
    rooms = {name: await crew.user.create_room(name=name) for name in names}
    await server.hansa.admin.rooms.overviews.write()
    (await crew.owner.put("/_synapse/admin/v2/users/{}", crew.user.user_id, body={"displayname": "A ZEBRA"})).ok()
    wanted = {
        (USERS, "name"): {"@zebra-one:hansa.test", "@zebra-two:hansa.test", crew.user.user_id},
        (USERS, "user_id"): {"@zebra-one:hansa.test", "@zebra-two:hansa.test"},
        (ROOMS, "search_term"): {room_id for name, room_id in rooms.items() if name != "Garden"},
    }
    orders = {USERS: sorted(ORDERS), ROOMS: sorted(ROOM_ORDERS)}
    for (path, term), expected in wanted.items():
        for order in orders[path]:
            for way in ("f", "b"):
                query = {term: "zebra", "limit": "2", "order_by": order, "dir": way}
                told, totals = await _pages(crew.owner, path, query)
                assert (sorted(told), totals) == (sorted(expected), {len(expected)}), (term, order, way)
    monkeypatch.setattr(room_overviews, "COUNTED_MAX", 1)
    monkeypatch.setattr(accounts, "COUNTED_MAX", 0)
    told, totals = await _pages(crew.owner, ROOMS, {"search_term": "zebra", "limit": "2"})
    assert (len(told), totals) == (5, {3, 5})
    assert (await crew.owner.get(USERS, name="zebra", limit=2)).ok()["total"] == 2


@pytest.mark.slow
async def test_lists_are_sorted_by_what_they_say(server: RunningServer, crew: Crew) -> None:
    """By each order one way, and by its opposite the other way; what is told of none stands at one end."""
    for name in ("ann", "ben"):
        await server.user(name)
    owner, target = crew.owner, "/_synapse/admin/v2/users/{}"
    (await owner.put(target, "@ann:hansa.test", body={"locked": True, "user_type": "bot", "displayname": "Zoe"})).ok()
    (await owner.put(target, "@ben:hansa.test", body={"avatar_url": "mxc://hansa.test/a"})).ok()
    (await owner.post("/_synapse/admin/v1/users/{}/shadow_ban", crew.user.user_id)).ok()
    for number, version in enumerate(("11", "12", "10")):
        body: dict[str, Any] = {"preset": "public_chat" if number else "private_chat", "room_version": version}
        room_id = await (crew.user, crew.admin, crew.user)[number].create_room(
            name=f"Room {number * 7 % 5}", visibility="public" if number == 2 else "private", **body
        )
        for member in (crew.auditor, crew.moderator)[:number]:
            await member.join(room_id)
    await server.hansa.admin.rooms.overviews.write()
    named = {"alphabetical": "name", "size": "joined_members"}
    for path, orders, key in ((USERS, ORDERS, "users"), (ROOMS, ROOM_ORDERS, "rooms")):
        for order in sorted(orders):
            told = []
            for way in ("f", "b"):
                rows = (await owner.get(path, locked="true", order_by=order, dir=way, limit="100")).ok()[key]
                told.append([row[named.get(order, order)] for row in rows if named.get(order, order) in row])
            one, other = ([value for value in values if value is not None] for values in told)
            ways = [(sorted(one), sorted(other, reverse=True)), (sorted(one, reverse=True), sorted(other))]
            assert (one, other) in ways, (order, told)


async def _pages(owner: Client, path: str, query: dict[str, str]) -> tuple[list[str], set[int]]:
    """Whom or what all pages tell, and the totals that they say there are."""
    told, totals, after = list[str](), set[int](), "0"
    while after:
        page = (await owner.get(path, **query, **{"from": after})).ok()
        told += [one.get("name") if path == USERS else one["room_id"] for one in page.get("users") or page["rooms"]]
        totals.add(page["total"] if path == USERS else page["total_rooms"])
        after = str(page.get("next_token", page.get("next_batch", "")))
    return told, totals


async def test_long_lists_are_counted_once_a_minute() -> None:
    clock, counted = FakeClock(), list[str]()
    totals = Totals(clock)

    async def of(name: str, size: int) -> int:
        async def count() -> int:
            counted.append(name)
            return size

        return await totals.of(name, count)

    for _ in range(3):
        assert await of("long", KEPT_FROM) == KEPT_FROM and await of("short", 7) == 7
    assert (counted.count("long"), counted.count("short")) == (1, 3)
    clock.advance(KEPT_S + 1)
    assert await of("long", KEPT_FROM + 1) == KEPT_FROM + 1
