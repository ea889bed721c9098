"""Lists by each order: the pages put together are the whole list, once, and totals are counted again after a while."""

from __future__ import annotations

from typing import Any

import pytest

from admin.storage.accounts import ORDERS
from admin.totals import KEPT_FROM, KEPT_S, Totals
from tests.admin.people import Crew
from tests.kit.clock import FakeClock
from tests.kit.server import RunningServer

USERS = "/_synapse/admin/v3/users"


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
