"""`hansa export`: beside a running server, with the same audit rows as the API."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.admin.test_exports import bodies_of, verified
from tests.kit.server import running_server
from tests.operator.test_erasing import hansa


@pytest.mark.slow
async def test_export(database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """T-J16: a room and a user; the key file that it makes signs the manifest, the server's own the events."""
    monkeypatch.setenv("HANSA_DATA_DIR", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    async with running_server(database_dsn) as server:
        alice = await server.user("alice")
        room_id = await alice.create_room()
        await alice.send(room_id, "hello")
        words = ("export", "room", room_id, "--to", str(tmp_path / "room"), "--format", "html", "--because", "case 12")
        code, _, err = await hansa(database_dsn, *words)
        assert code == 0 and "Merkle root" in err, err
        assert bodies_of(tmp_path / "room") == ["hello"] and (tmp_path / "room" / "events.html").exists()
        assert (await verified(tmp_path / "room"))[1].endswith("all verified\n")
        code, _, err = await hansa(database_dsn, *words)
        assert code == 1 and "is there already" in err
        wanted = ("export", "user", alice.user_id, "--to", str(tmp_path / "user"), "--because", "asked", "--json")
        code, out, err = await hansa(database_dsn, *wanted)
        assert code == 0 and json.loads(out)["events"] >= 1, err
        assert os.listdir(tmp_path / "user") and (await verified(tmp_path / "user"))[0] == 0
        rows = await server.db.fetch("SELECT actor, action, reason FROM audit_log ORDER BY entry_nid")
        assert [tuple(row) for row in rows] == [
            ("hansa export", "room.export", "case 12"),
            ("hansa export", "user.export", "asked"),
        ]
