"""What a user may pile up: every kind of thing has a number at which the next one is refused, and room is made by going
back. The numbers are lowered here, so that they are reached."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.kit.server import Answered, Client, RunningServer, running_server

LOW = "[sessions]\ndevices_per_user_max = 3\n[media]\npending_uploads_max = 2\n"
CAPS = {
    "homeserver.accounts.filters.FILTERS_MAX": 2,
    "homeserver.accounts.account_data.ENTRIES_MAX": 3,
    "homeserver.client_api.account_data.TAGS_MAX": 2,
    "homeserver.encryption.key_backups.BACKUPS_MAX": 2,
    "homeserver.encryption.key_backups.SESSIONS_MAX": 2,
    "homeserver.encryption.keys.ONE_TIME_KEYS_MAX": 3,
    "homeserver.rooms.commands.directory.ALIASES_PER_ROOM_MAX": 2,
}
BACKUP = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "abcdefg"}}
SESSION = {"first_message_index": 1, "forwarded_count": 0, "is_verified": False, "session_data": {"a": "b"}}


@pytest.fixture
async def server(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningServer]:
    for name, number in CAPS.items():
        monkeypatch.setattr(name, number)
    async with running_server(database_dsn, toml=LOW) as running:
        yield running


def is_full(answer: Answered) -> None:
    """The spec's refusal of one too many."""
    assert answer.status in (400, 403, 413, 429) and answer.json["errcode"].startswith("M_"), answer


async def test_filters(server: RunningServer) -> None:
    """T-H2, T-G19: one that is there already counts once."""
    alice, bob = await server.user("alice"), await server.user("bob")
    path = "/user/{}/filter"
    for number in (1, 2, 1, 2):
        (await alice.post(path, alice.user_id, body={"room": {"timeline": {"limit": number}}})).ok()
    is_full(await alice.post(path, alice.user_id, body={"room": {"timeline": {"limit": 3}}}))
    (await bob.post(path, bob.user_id, body={"room": {"timeline": {"limit": 3}}})).ok()


async def test_account_data_and_tags(server: RunningServer) -> None:
    """T-H2, T-H4: in number as in size; what is there may be changed."""
    alice = await server.user("alice")
    room_id = await alice.create_room()
    tag = "/user/{}/rooms/{}/tags/{}"
    for name in ("u.a", "u.b", "u.a"):
        (await alice.put(tag, alice.user_id, room_id, name, body={"order": 0.5})).ok()
    is_full(await alice.put(tag, alice.user_id, room_id, "u.c", body={"order": 0.5}))
    (await alice.delete(tag, alice.user_id, room_id, "u.a")).ok()
    (await alice.put(tag, alice.user_id, room_id, "u.c", body={"order": 0.5})).ok()
    data = "/user/{}/account_data/{}"
    (await alice.put(data, alice.user_id, "org.a", body={"x": 1})).ok()
    answers = [await alice.put(data, alice.user_id, f"org.{number}", body={"x": 1}) for number in range(4)]
    is_full(answers[-1])
    (await alice.put(data, alice.user_id, "org.a", body={"x": 2})).ok()


async def test_key_backups(server: RunningServer) -> None:
    """T-H2: versions, and sessions in one; deleting makes room."""
    alice = await server.user("alice")
    first = (await alice.post("/room_keys/version", body=BACKUP)).ok()["version"]
    version = (await alice.post("/room_keys/version", body=BACKUP)).ok()["version"]
    is_full(await alice.post("/room_keys/version", body=BACKUP))
    (await alice.delete("/room_keys/version/{}", first)).ok()

    async def keep(session: str) -> Answered:
        path = f"/room_keys/keys/{quote('!a:b')}/{session}"
        body: dict[str, Any] = SESSION
        return await alice.request("PUT", path, body=body, query={"version": version})

    for session in ("one", "two", "one"):
        (await keep(session)).ok()
    is_full(await keep("three"))
    kept = (await alice.get("/room_keys/version")).ok()
    assert kept["count"] == 2, "what was refused isn't kept"


async def test_one_time_keys(server: RunningServer) -> None:
    """T-H2: of one algorithm; claimed ones make room."""
    alice, bob = await server.user("alice"), await server.user("bob")

    async def upload(*names: str) -> Answered:
        return await alice.post("/keys/upload", body={"one_time_keys": {f"curve25519:{name}": "k" for name in names}})

    (await upload("a", "b", "c")).ok()
    is_full(await upload("d"))
    wanted = {"one_time_keys": {alice.user_id: {alice.device_id: "curve25519"}}}
    (await bob.post("/keys/claim", body=wanted)).ok()
    (await upload("d")).ok()


async def test_aliases(server: RunningServer) -> None:
    """T-H2: of a room."""
    alice = await server.user("alice")
    room_id = await alice.create_room()

    async def name(alias: str) -> Answered:
        return await alice.put("/directory/room/{}", f"#{alias}:hansa.test", body={"room_id": room_id})

    (await name("a")).ok()
    (await name("b")).ok()
    is_full(await name("c"))
    (await alice.delete("/directory/room/{}", "#a:hansa.test")).ok()
    (await name("c")).ok()


async def test_devices_and_uploads_to_come(server: RunningServer) -> None:
    """T-H2: as the operator set it; logging out makes room."""
    alice = await server.user("alice")
    others: list[Client] = [await server.login("alice") for _ in range(2)]
    identifier = {"type": "m.id.user", "user": "alice"}
    login = {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}
    is_full(await server.anonymous().post("/login", body=login))
    (await others[0].post("/logout")).ok()
    (await server.anonymous().post("/login", body=login)).ok()
    for _ in range(2):
        (await alice.post("/_matrix/media/v1/create")).ok()
    is_full(await alice.post("/_matrix/media/v1/create"))
