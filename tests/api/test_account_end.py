"""The end of an account, and of sessions by the operator's hand: nothing stays behind, also over a crash."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest

from homeserver.cli import run_command
from homeserver.core.errors import Forbidden
from homeserver.core.events import Draft
from homeserver.core.identifiers import RoomId
from homeserver.storage.database import Database
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.until import SOON_S, until

PASSWORD = "correct horse battery"
# What stays: the name, so that nobody else gets it; what others saw; files and who sent them.
STAYS = {"users", "memberships", "profile_changes", "device_list_changes", "media", "unread_pages"}

_TABLES = """
    SELECT table_name FROM information_schema.columns WHERE column_name = 'user_id' AND table_schema = 'public'
"""


async def tables_with(database: Database, user_id: str) -> set[str]:
    """The tables that hold a row of this user's."""
    found = set()
    for row in await database.fetch(_TABLES):
        name = row["table_name"]
        if await database.fetchval(f"SELECT EXISTS (SELECT FROM {name} WHERE user_id = $1)", user_id):
            found.add(name)
    return found


def password_of(client: Client) -> dict[str, object]:
    identifier = {"type": "m.id.user", "user": client.user_id}
    return {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}


async def live(server: RunningServer) -> Client:
    """An account that has used whatever there is."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    event_id = await bob.send(room)
    me = f"/user/{alice.user_id}"
    pusher = {
        "kind": "http", "app_id": "a", "pushkey": "k", "app_display_name": "A", "device_display_name": "D",
        "lang": "en", "data": {"url": "https://push.example/_matrix/push/v1/notify"},
    }  # fmt: skip
    backup = {"algorithm": "m.megolm_backup.v1.curve25519-aes-sha2", "auth_data": {"public_key": "p" * 43}}
    for answer in (
        await alice.put(me + "/account_data/org.example", body={"a": 1}),
        await alice.post(me + "/filter", body={"room": {"timeline": {"limit": 3}}}),
        await alice.put("/pushrules/global/content/word", body={"pattern": "w", "actions": []}),
        await alice.post("/pushers/set", body=pusher),
        await alice.put("/presence/{}/status", alice.user_id, body={"presence": "online", "status_msg": "here"}),
        await alice.post("/rooms/{}/receipt/m.read/{}", room, event_id),
        await alice.post("/room_keys/version", body=backup),
        await bob.put("/sendToDevice/t/1", body={"messages": {alice.user_id: {alice.device_id: {"a": 1}}}}),
        await alice.get("/sync"),
        await alice.post(me + "/openid/request_token"),
    ):
        assert answer.status == 200, answer.body
    return alice


async def test_nothing_stays_of_a_deactivated_account(server: RunningServer, database: Database) -> None:
    """T-I24: whichever table there is, it keeps nothing of a user but what must stay."""
    alice = await live(server)
    before = await tables_with(database, alice.user_id)
    assert len(before - STAYS) > 8, before
    answer = await alice.post("/account/deactivate", body={"auth": password_of(alice), "erase": True})
    assert answer.status == 200, answer.body

    async def is_gone() -> bool:
        # The directory of users is told of it a moment later.
        return await tables_with(database, alice.user_id) <= STAYS

    await until(is_gone)
    assert (await alice.get("/account/whoami")).status == 401


async def left(client: Client, room: str, user_id: str) -> None:
    """Returns once this user isn't in the room any more."""
    async with asyncio.timeout(SOON_S):
        while user_id in (await client.get("/rooms/{}/joined_members", room)).ok()["joined"]:
            pass


async def test_what_a_crash_interrupts_is_finished(database_dsn: str, database: Database) -> None:
    """T-I24, T-O19: a deactivated account leaves its rooms, a guest the rooms that take none, at the next start."""
    async with running_server(database_dsn) as server:
        alice, bob, guest = [await server.user(name) for name in ("alice", "bob", "guest")]
        room = await alice.create_room(preset="public_chat")
        await bob.join(room)
        await guest.join(room)
    await database.execute("UPDATE users SET is_deactivated = true WHERE user_id = $1", bob.user_id)
    await database.execute("UPDATE users SET is_guest = true WHERE user_id = $1", guest.user_id)
    async with running_server(database_dsn) as server:
        alice = await server.login("alice")
        await left(alice, room, bob.user_id)
        await left(alice, room, guest.user_id)


@pytest.mark.slow
async def test_the_operator_ends_sessions_of_a_running_server(
    server: RunningServer, database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-I6: `hansa user reset-password` logs out whoever had taken the account, in seconds."""
    alice = await server.user("alice")
    config_for_tests(tmp_path)
    monkeypatch.setenv("HANSA_DATABASE__DSN", database_dsn)
    monkeypatch.setattr("sys.stdin", io.StringIO("a much better password\n"))
    command = ["--config", str(tmp_path / "hansa.toml"), "user", "reset-password", "alice", "--password-stdin"]
    assert await asyncio.to_thread(run_command, command) == 0
    async with asyncio.timeout(SOON_S):
        while (await alice.get("/account/whoami")).status == 200:
            pass
    (await alice.get("/account/whoami")).refused(401, "M_UNKNOWN_TOKEN")
    again = await server.login("alice", "a much better password")
    devices = (await again.get("/devices")).ok()["devices"]
    assert [device["device_id"] for device in devices] == [again.device_id]


class Recording:
    """A check of the policy chain that notes what it is asked, and refuses one name."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, object]] = []

    async def judge(self, room_id: RoomId | None, draft: Draft) -> Draft:
        self.seen.append((draft.type, draft.content.get("membership")))
        if draft.content.get("displayname") == "refused":
            raise Forbidden("not this name")
        return draft


async def test_the_policy_chain_sees_what_accounts_do_in_rooms(server: RunningServer) -> None:
    """A new name, and the leaving at the end, pass the same checks as what is sent."""
    alice, bob = await server.user("alice"), await server.user("bob")
    room = await alice.create_room(preset="public_chat")
    await bob.join(room)
    recording = Recording()
    server.hansa.rooms.policy.add(recording)
    for name in ("refused", "Bobby"):
        (await bob.put("/profile/{}/displayname", bob.user_id, body={"displayname": name})).ok()
        shown = (await alice.get("/rooms/{}/state/m.room.member/{}", room, bob.user_id)).ok()
        assert (shown.get("displayname") == name) == (name == "Bobby")
    assert recording.seen == [("m.room.member", "join")] * 2
    (await bob.post("/account/deactivate", body={"auth": password_of(bob)})).ok()

    async def has_left() -> bool:
        return ("m.room.member", "leave") in recording.seen

    await until(has_left, within_s=60)
