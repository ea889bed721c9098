"""The embedded index on a disk that is really full: messages go on, searches answer, and nothing is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.kit.server import RunningServer, config_for_tests, running_server
from tests.kit.small_disk import fill, small_disk
from tests.kit.until import until
from tests.search.test_search import answered, ids

# Of other letters each: what is said alike takes no room in an index.
LONG, SENT_MAX = 4_000, 15


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hansa-full-") as name:
        yield Path(name)


def told(server: RunningServer, figure: str) -> float:
    """What the metrics say of the index."""
    line = f'hansa_search_indexer{{figure="{figure}"}} '
    lines = server.hansa.metrics.render().decode().splitlines()
    return next(float(one.removeprefix(line)) for one in lines if one.startswith(line))


@pytest.mark.slow
@pytest.mark.root
@pytest.mark.parametrize("leave_kib", [0, 4, 24, 120])
async def test_a_full_disk_under_the_index(database_dsn: str, folder: Path, leave_kib: int) -> None:
    """T-O12: sends go on, a search finds what is in it and says that this isn't all; it catches up by itself."""
    with small_disk(folder / "search", 4 * 1024) as disk:
        config = config_for_tests(folder)
        async with running_server(database_dsn, config=config) as server:
            alice = await server.user("alice")
            room = await alice.create_room()
            early = [await alice.send(room, f"harbour {number}") for number in range(3)]
            assert await ids(alice, "harbour") == early[::-1]
            filler = fill(disk, leave_kib=leave_kib)
            late: list[str] = []
            with structlog.testing.capture_logs() as logs:

                async def is_noticed() -> bool:
                    number = len(late)
                    if number < SENT_MAX:
                        words = " ".join(f"quay{number}x{word}" for word in range(LONG))
                        late.append(await alice.send(room, f"harbour {number} {words}"))
                    return told(server, "failures") > 0

                await until(is_noticed, within_s=60)
            faults = [one["error"] for one in logs if one["event"] == "search_index_behind"]
            assert faults and all("bytes are free on its disk" in fault for fault in faults)
            answer = await answered(alice, "harbour")
            assert answer["org.hansa.partial"] is True
            found = {one["result"]["event_id"] for one in answer["results"]}
            assert set(early) <= found
            assert told(server, "lag_seconds") > 0
            filler.unlink()

            async def is_whole() -> bool:
                criteria = {"filter": {"limit": 100}}
                now = await answered(alice, "harbour", **criteria)
                return "org.hansa.partial" not in now

            await until(is_whole, within_s=120)
            assert await ids(alice, "harbour", filter={"limit": 100}) == [*late[::-1], *early[::-1]]
            assert told(server, "failures") == told(server, "dead_letters") == 0
