"""A new signing key for a server that others know: what it signed before stays good, what it signs now is."""

from __future__ import annotations

import json
import stat
from functools import partial
from pathlib import Path

import pytest

from homeserver.cli import run_command
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.signing_key import load_signer
from tests.federation.test_rooms import name_of
from tests.kit.authority import Authority
from tests.kit.federation import federated_server
from tests.kit.ports import free_port
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer
from tests.kit.until import until


@pytest.fixture
def key_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The key file that the command line's configuration names."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "signing.key"
    (tmp_path / "hansa.toml").write_text(f'server_name = "example.test"\nsigning_key_path = "{path}"\n')
    return path


def signer(path: Path, name: str = "example.test") -> Signer:
    return load_signer(path, ServerName(name), SystemRandomness())


def test_the_new_key_takes_the_old_ones_place(key_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """T-A9: nobody else can read it; the old key is kept, so that a mistake can be taken back."""
    old = signer(key_path)
    assert run_command(["signing-key", "rotate", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    new = signer(key_path)
    assert (said["old_key_id"], said["new_key_id"]) == (old.key_id, new.key_id)
    assert old.key_id != new.key_id and old.verify_key != new.verify_key
    assert stat.S_IMODE(key_path.stat().st_mode) == 0o600
    assert signer(Path(said["kept_at"])).verify_key == old.verify_key
    assert stat.S_IMODE(Path(said["kept_at"]).stat().st_mode) == 0o600


def test_a_rotation_that_was_cut_off_is_done_again(key_path: Path) -> None:
    old = signer(key_path)
    key_path.with_name("signing.key.new").write_text("ed25519 a_half")
    assert run_command(["signing-key", "rotate"]) == 0
    assert signer(key_path).key_id != old.key_id
    assert not key_path.with_name("signing.key.new").exists()


@pytest.mark.parametrize("text", [None, "", "ed25519 a_1 AAAA\n"])
def test_what_is_no_key_is_not_rotated(key_path: Path, text: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    """What lies there is left as it is: it may be a key that was damaged."""
    if text is not None:
        key_path.write_text(text)
        key_path.chmod(0o600)
    assert run_command(["signing-key", "rotate"]) == 1
    assert "hint: " in capsys.readouterr().err
    assert (key_path.read_text() if key_path.exists() else None) == text


async def bodies(client: Client, room_id: str) -> list[str]:
    page = (await client.get("/rooms/{}/messages", room_id, dir="b", limit="50")).ok()
    return [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]


@pytest.mark.slow
async def test_other_servers_go_on_with_a_rotated_key(
    postgres: PostgresForTests, authority: Authority, there: RunningServer, key_path: Path
) -> None:
    """T-A7: who knew the server, and who comes later, take both what the old key signed and what the new one does."""
    port = free_port()
    name = f"localhost:{port}"
    bob = await there.user("bob")
    async with postgres.fresh() as dsn, postgres.fresh() as later_dsn:
        async with federated_server(dsn, authority, port=port, signer=signer(key_path, name)) as here:
            alice = await here.user("alice")
            room_id = await alice.create_room(preset="public_chat")
            (await bob.post(f"/join/{{}}?via={name}", room_id)).ok()
            await alice.send(room_id, "by the old key")
        assert run_command(["signing-key", "rotate"]) == 0
        async with federated_server(dsn, authority, port=port, signer=signer(key_path, name)) as here:
            alice = await here.login("alice")
            await alice.send(room_id, "by the new key")
            async with federated_server(later_dsn, authority) as later:
                carol = await later.user("carol")
                (await carol.post(f"/join/{{}}?via={name_of(here)}", room_id)).ok()
                await alice.send(room_id, "to all")
                for client in (bob, carol):
                    await until(partial(_has_all, client, room_id), within_s=30.0)


async def _has_all(client: Client, room_id: str) -> bool:
    return {"by the old key", "by the new key", "to all"} <= set(await bodies(client, room_id))
