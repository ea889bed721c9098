"""The main job on real input: two real clients talk in an encrypted room, and find all of it again after `kill -9`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nio
import pytest

from tests.kit.process import ServerProcess

PASSWORD = "correct horse battery"
PATIENCE_S = 60.0
COMMAND_S = 180.0  # more than the scene's own patience, which says what it waited for

pytestmark = [pytest.mark.clients, pytest.mark.slow]


class JsClient:
    """matrix-js-sdk in a process of its own, told what to do line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def __call__(self, command: str, **parameters: Any) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **parameters}).encode() + b"\n")
        try:
            async with asyncio.timeout(COMMAND_S):
                answer = json.loads(await self._process.stdout.readline())
        except TimeoutError:
            pytest.fail(f"no answer to {command} with {parameters} within {COMMAND_S:.0f} s")
        assert "ok" in answer, answer
        return answer["ok"]


@asynccontextmanager
async def js_client(base_url: str) -> AsyncIterator[JsClient]:
    process = await asyncio.create_subprocess_exec(
        "node",
        str(Path(__file__).parent / "scene.mjs"),
        base_url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    try:
        yield JsClient(process)
    finally:
        process.kill()
        await process.wait()


async def nio_until(client: nio.AsyncClient, event_id: str) -> nio.Event:
    """Syncs until this event has arrived, and gives it as the client shows it."""
    found: list[nio.Event] = []

    def note(_room: nio.MatrixRoom, event: nio.Event) -> None:
        if event.event_id == event_id:
            found.append(event)

    client.add_event_callback(note, nio.Event)
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not found:
                await client.sync(timeout=1000)
                if client.should_upload_keys:
                    await client.keys_upload()
                if client.should_query_keys:
                    await client.keys_query()
                await client.send_to_device_messages()
    except TimeoutError:
        pytest.fail(f"{client.user_id} waited in vain for {event_id}: its position is {client.next_batch}")
    return found[0]


async def register_nio(server: ServerProcess, store: Path, name: str) -> nio.AsyncClient:
    store.mkdir()
    config = nio.AsyncClientConfig(encryption_enabled=True, store_sync_tokens=True)
    client = nio.AsyncClient(server.base_url, f"@{name}:localhost", store_path=str(store), config=config)
    answer = await client.register(name, PASSWORD)
    assert isinstance(answer, nio.RegisterResponse), answer
    client.load_store()
    await client.sync(timeout=0)
    await client.keys_upload()
    return client


async def test_two_clients_talk_encrypted_and_find_it_all_after_a_kill(tmp_path: Path) -> None:
    """T-O6: what was acknowledged is there after `kill -9`."""
    tmp_path.chmod(0o755)
    server = ServerProcess(tmp_path)
    await server.start()
    try:
        async with js_client(server.base_url) as js:
            account = await js("register", name="alice", password=PASSWORD)
            bob = await register_nio(server, tmp_path / "store", "bob")
            room_id = (await js("createEncrypted", name="alice", invite=[bob.user_id]))["room_id"]
            assert isinstance(await bob.join(room_id), nio.JoinResponse)
            await bob.sync(timeout=0, full_state=True)
            await js("waitMembers", name="alice", room_id=room_id, count=2)

            first = (await js("send", name="alice", room_id=room_id, body="moin"))["event_id"]
            received = await nio_until(bob, first)
            assert isinstance(received, nio.RoomMessageText) and received.body == "moin"
            assert received.decrypted

            sent = await bob.room_send(
                room_id, "m.room.message", {"msgtype": "m.text", "body": "servus"}, ignore_unverified_devices=True
            )
            assert isinstance(sent, nio.RoomSendResponse), sent
            read = await js("read", name="alice", room_id=room_id, event_id=sent.event_id)
            assert (read["body"], read["wire"]) == ("servus", "m.room.encrypted")

            await server.kill()
            await server.start()

            history = await js("history", name="alice", room_id=room_id)
            assert first in history["event_ids"] and sent.event_id in history["event_ids"]
            assert account["user_id"] == "@alice:localhost"
            again = (await js("send", name="alice", room_id=room_id, body="noch da?"))["event_id"]
            received = await nio_until(bob, again)
            assert isinstance(received, nio.RoomMessageText) and received.body == "noch da?"
            await bob.close()
    finally:
        await server.stop()
