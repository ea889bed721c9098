"""What leaves the hot index by itself, and what stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.archive import catalog
from search.archive.keeping import DAY_MS, Keeper
from search.archive.shelf import month_span
from search.hot.months import month_of
from tests.kit.archives import bodies, job, objects
from tests.kit.bridge import AS_TOKEN, bridge_for_tests
from tests.kit.server import RunningServer, running_server

pytestmark = pytest.mark.slow


async def _grown(server: RunningServer, days: int) -> None:
    """Makes all that was said so much older."""
    await server.db.execute("UPDATE events SET received_ms = received_ms - $1", days * DAY_MS)


async def _names(server: RunningServer) -> list[str]:
    return [file.name for file in await catalog.files(server.db)]


async def test_months_leave_when_they_are_due(database_dsn: str, tmp_path: Path) -> None:
    """The age counts from the month's end; rooms may have their own, or never leave."""
    toml = f'[archive]\nafter_days = 100\nstore_path = "{tmp_path}/archive"\n'
    async with running_server(database_dsn, toml=toml) as server:
        alice = await server.user("alice")
        rooms = {name: await alice.create_room() for name in ("common", "early", "never")}
        for name, room in rooms.items():
            await alice.send(room, f"harbour {name}")
        expected = sorted(await bodies(alice, "harbour"))
        nids = {
            name: await server.db.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", room)
            for name, room in rooms.items()
        }
        async with server.db.transaction() as tx:
            await catalog.set_room_age(tx, nids["early"], 10)
            await catalog.set_room_age(tx, nids["never"], None)
        assert (await job(server, "run", is_forced=False))["messages"] == 0
        # 45 days ago is past a month's end by 10 days at least, and by fewer than 100.
        await _grown(server, 45)
        assert (await job(server, "run", is_forced=False))["messages"] == 1
        assert sorted(await bodies(alice, "harbour")) == expected
        assert (await job(server, "run", is_forced=False))["messages"] == 0
        names = await _names(server)
        month = names[0].split("/")[0]
        assert month_span(month)[0] <= await server.db.fetchval("SELECT min(received_ms) FROM events")
        # As if a hundred days had passed since: the month that was begun is made anew, with the other room.
        keeper = server.hansa.base.keepers["archive"].keeper  # type: ignore[attr-defined]
        assert isinstance(keeper, Keeper)
        moved = await keeper.run(month=month, is_forced=True)
        assert moved == {month: 2}
        assert sorted(await bodies(alice, "harbour")) == expected
        assert names != await _names(server) and len(await _names(server)) == 1


async def test_a_claimed_time_makes_no_month(database_dsn: str, tmp_path: Path) -> None:
    """T-H11: months are those in which messages came here, whatever their senders say; nothing is archived early."""
    async with bridge_for_tests() as bridge:
        registration = bridge.register(tmp_path)
        toml = f'''
            archive = {{ after_days = 100, store_path = "{tmp_path}/archive" }}
            appservices = {{ registration_paths = ["{registration}"] }}
        '''
        async with running_server(database_dsn, toml=toml) as server:
            client = server.anonymous()
            client.token = AS_TOKEN
            room = await client.create_room()
            for number, claimed_ms in enumerate((0, 1, 10**12, 1_500_000_000_000, 10**13, 2**53 - 1)):
                path = f"/rooms/{room}/send/m.room.message/t{number}?ts={claimed_ms}"
                (await client.put(path, body={"msgtype": "m.text", "body": f"harbour {number}"})).ok()
            assert (await job(server, "run", is_forced=False))["messages"] == 0
            moved = (await job(server, "run"))["months"]
            assert list(moved.values()) == [6]
            assert len(objects(tmp_path, ".parquet")) == 1


def test_months_are_those_of_the_index() -> None:
    for time_ms in (0, 1_400_000_000_000, 1_764_000_000_000, 2**61, -(2**61)):
        first, last = month_span(month_of(time_ms))
        assert first <= time_ms < last
