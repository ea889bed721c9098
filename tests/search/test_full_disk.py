"""The disk of the embedded index is full: people go on, what was found is found, the rest follows by itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kit.server import RunningServer, config_for_tests, running_server
from tests.kit.small_disk import fill, small_disk
from tests.kit.until import until
from tests.search.test_rebuilding import settled
from tests.search.test_search import answered

WORDS = " ".join(f"harbour{number}" for number in range(200))


@pytest.mark.slow
@pytest.mark.parametrize("leave_kib", [0, 4, 24, 120])
async def test_a_full_disk_loses_nothing(database_dsn: str, tmp_path: Path, leave_kib: int) -> None:
    """T-O12: wherever in its writing it finds no room; nobody who sends hears of it."""
    with small_disk(tmp_path / "search", 4 * 1024) as disk:
        async with running_server(database_dsn, config=config_for_tests(tmp_path)) as server:
            alice = await server.user("alice")
            room = await alice.create_room()
            sent = [await alice.send(room, f"word {WORDS}")]
            assert await settled(alice, "word") == sent
            filler = fill(disk, leave_kib=leave_kib)

            async def is_behind() -> bool:
                if len(sent) < 80:
                    sent.append(await alice.send(room, f"word {len(sent)} {WORDS}"))
                return _failures(server) > 1

            await until(is_behind, within_s=60)
            answer = await answered(alice, "word", filter={"limit": 100})
            assert "org.hansa.partial" in answer
            assert sent[0] in [hit["result"]["event_id"] for hit in answer["results"]]
            filler.unlink()
            assert await settled(alice, "word") == sent[::-1]
        async with running_server(database_dsn, config=config_for_tests(tmp_path)) as server:
            again = server.anonymous()
            again.token = alice.token
            assert await settled(again, "word") == sent[::-1]


def _failures(server: RunningServer) -> float:
    """Rounds of the indexer that failed in a row, as an operator sees them."""
    name = b'hansa_search_indexer{figure="failures"} '
    return next(
        float(line[len(name) :]) for line in server.hansa.metrics.render().splitlines() if line.startswith(name)
    )
