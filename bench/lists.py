"""What operators' lists cost where there are a million users and rooms: pages in each order, searches by name.

`python -m bench lists`; HANSA_LIST_ROWS=100000 is a smaller one. Asked by HTTP, the median of some rounds; `first` is
the first time that a list is asked for, which counts it. Users and rooms are copied into the database.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import tempfile
import time
from pathlib import Path

from admin.storage.accounts import ORDERS
from admin.storage.room_overviews import ORDERS as ROOM_ORDERS
from bench.harness import report
from homeserver.runtime.logging import configure_logging
from tests.admin.console.visitor import Visitor
from tests.admin.people import owner_of
from tests.kit.postgres import running_postgres
from tests.kit.server import Client, RunningServer, config_for_tests, running_server

ROWS, ROUNDS, AT_ONCE = int(os.environ.get("HANSA_LIST_ROWS", "1000000")), 3, 50_000
USERS, ROOMS, FIND = (
    "/_synapse/admin/v3/users",
    "/_synapse/admin/v1/rooms",
    "/_synapse/admin/v1/search_users/@owner:hansa.test",
)
# One account or room in a thousand has the first in its name, all have the second.
RARE, COMMON = "zebra", "somebody"
_USERS = """
    INSERT INTO users (user_id, created_ts) SELECT '@somebody' || n || ':hansa.test', 1600000000000 + n * 997 % 1000003
    FROM generate_series($1::int, $2::int) AS n
"""
_PROFILES = """
    INSERT INTO profiles (user_id, field, value) SELECT '@somebody' || n || ':hansa.test', 'displayname',
        convert_to('"' || CASE WHEN n % 1000 = 0 THEN 'Zebra 斑马 ' ELSE 'Name ' END || left(md5(n::text), 10) || '"',
            'UTF8')
    FROM generate_series($1::int, $2::int) AS n
"""
_ROOMS = """
    INSERT INTO rooms (room_nid, room_id, version, creator, state_nid)
    SELECT 10000000 + n, '!room' || n || ':hansa.test', '12', '@somebody' || n || ':hansa.test', one.state_nid
    FROM generate_series($1::int, $2::int) AS n, (SELECT state_nid FROM rooms LIMIT 1) AS one
"""
_OVERVIEWS = """
    INSERT INTO room_overviews (room_nid, room_id, name, canonical_alias, creator, version, federatable, tombstoned,
        joined_members, joined_local_members, invited_members, state_events)
    SELECT 10000000 + n, '!room' || n || ':hansa.test', CASE WHEN n % 1000 = 0 THEN 'Zebra 斑马 ' ELSE 'Name ' END
        || left(md5(n::text), 10), '#somebody' || n || ':hansa.test',
        '@somebody' || n || ':hansa.test', '12', true, false,
        n * 31 % 997, n % 97, n % 7, n % 499
    FROM generate_series($1::int, $2::int) AS n
"""


# Made anew once all is there: indexes that grow by a million rows take longer.
_INDEXES = """
    SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS definition
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisunique AND i.indrelid = ANY($1::regclass[]) ORDER BY c.relname
"""
_TABLES = ("users", "profiles", "rooms", "room_overviews")


async def _fill(server: RunningServer) -> None:
    indexes = await server.db.fetch(_INDEXES, list(_TABLES))
    for row in indexes:
        await server.db.execute(f"DROP INDEX {row['name']}")
    for first in range(1, ROWS + 1, AT_ONCE):
        last = min(ROWS, first + AT_ONCE - 1)
        for sql in (_USERS, _PROFILES, _ROOMS, _OVERVIEWS):
            await server.db.execute(sql, first, last)
    for row in indexes:
        await server.db.maintain(row["definition"])
    for table in _TABLES:
        await server.db.maintain(f"VACUUM (ANALYZE) {table}")


async def _asked(owner: Client, title: str, path: str, **query: str) -> None:
    taken = []
    for _ in range(ROUNDS + 1):
        began = time.perf_counter()
        (await owner.get(path, **query)).ok()
        taken.append((time.perf_counter() - began) * 1e3)
    report(f"{title}, first", ROWS, taken[0], "ms")
    report(f"{title}, then", ROWS, statistics.median(taken[1:]), "ms")


async def _console(server: RunningServer) -> None:
    visitor = await Visitor(server).log_in("owner")
    middle = f"@somebody{ROWS // 2}:hansa.test"
    for name, path in (
        ("/admin/users", "/admin/users"),
        ("/admin/users in the middle", f"/admin/users?after={middle}"),
        ("/admin/rooms", "/admin/rooms"),
        ("/admin/rooms?q=Name, which nearly all have", "/admin/rooms?q=Name"),
        ("/admin/rooms?q=Zebra", "/admin/rooms?q=Zebra"),
        ("/admin/rooms?q=nothing", "/admin/rooms?q=nothing"),
        ("/admin/rooms in the middle", f"/admin/rooms?below={10_000_000 + ROWS // 2}"),
        ("/admin", "/admin"),
    ):
        taken = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            assert (await visitor.get(path)).status == 200
            taken.append((time.perf_counter() - began) * 1e3)
        report(name, ROWS, statistics.median(taken), "ms")


async def _run() -> None:
    with running_postgres() as postgres, tempfile.TemporaryDirectory(prefix="hansa-bench-") as folder:
        async with (
            postgres.fresh() as dsn,
            running_server(dsn, config=config_for_tests(Path(folder))) as server,
        ):
            owner = await owner_of(server)
            await owner.create_room()
            began = time.perf_counter()
            await _fill(server)
            report("filling", ROWS, time.perf_counter() - began, "s")
            for term in (RARE, "斑马", COMMON, f"body{ROWS // 2}", "nothing at all"):
                await _asked(owner, f"users named {term}", USERS, name=term)
                await _asked(owner, f"rooms named {term}", ROOMS, search_term=term)
            await _asked(owner, f"search_users {RARE}", FIND, term=f"body{ROWS // 2}")
            for order in sorted(ORDERS):
                await _asked(owner, f"users by {order}", USERS, order_by=order)
            for order in sorted(ROOM_ORDERS):
                await _asked(owner, f"rooms by {order}", ROOMS, order_by=order)
            await _console(server)


def run() -> None:
    configure_logging(level="warning")
    asyncio.run(_run())
