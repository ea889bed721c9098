"""`hansa retention preview`: counts, and says what is wrong."""

from __future__ import annotations

import json

import pytest

from tests.kit.server import running_server
from tests.operator.test_erasing import hansa


@pytest.mark.slow
async def test_preview(database_dsn: str) -> None:
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        for number in range(3):
            await alice.send(room_id, str(number))
        await server.db.execute("UPDATE events SET origin_server_ts = origin_server_ts - 864000000")
    code, out, err = await hansa(database_dsn, "retention", "preview", "--default-days", "3", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["events"], found["rooms"], found["largest"][0]["room_id"]) == (2, 1, room_id)
    code, out, _ = await hansa(database_dsn, "retention", "preview")
    assert code == 0 and out.startswith("0 messages")
    code, _, err = await hansa(database_dsn, "retention", "preview", "!none:hansa.test")
    assert code == 1 and "isn't known here" in err
