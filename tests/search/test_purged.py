"""What is purged from the database leaves the index, on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from homeserver.assembly.search import readers_of
from tests.admin.people import owner_of
from tests.kit.server import running_server
from tests.kit.until import until
from tests.search.test_rebuilding import ENGINES, config_on, settled


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
async def test_purged_history_and_rooms_leave_no_words(
    database_dsn: str, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """T-G11: not only what the reader may see: the index itself has them no more."""
    config = config_on(engine, tmp_path, request)

    async def indexed() -> int:
        tier = readers_of(config)(0)
        try:
            return await tier.count() if await tier.open() else 0
        finally:
            await tier.close()

    async with running_server(database_dsn, config=config) as server:
        owner = await owner_of(server)
        room, other = await owner.create_room(), await owner.create_room()
        for number in range(3):
            await owner.send(room, f"word {number}")
        kept = await owner.send(room, "word kept")
        await owner.send(other, "word elsewhere")
        assert len(await settled(owner, "word")) == 5 and await indexed() == 5
        body = {"delete_local_events": True, "purge_up_to_event_id": kept}
        (await owner.post("/_synapse/admin/v1/purge_history/{}", room, body=body)).ok()

        async def has(count: int) -> bool:
            await settled(owner, "word")
            return await indexed() == count

        await until(lambda: has(2), within_s=30)
        (await owner.delete("/_synapse/admin/v1/rooms/{}", other, body={"purge": True})).ok()
        await until(lambda: has(1), within_s=30)
        assert await settled(owner, "word") == [kept]
