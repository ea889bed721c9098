"""`kill -9` while jobs of every kind go on: each is taken up again, ends well, and does nothing twice."""

from __future__ import annotations

import hashlib
import hmac
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.admin.people import PASSWORD
from tests.admin.spam.test_rules_over_http import rule
from tests.admin.test_user_erasure import CANARY, ERASURES, files_with
from tests.kit.ports import free_port
from tests.kit.process import ServerProcess
from tests.kit.server import Client
from tests.kit.until import until

pytestmark = pytest.mark.slow

SECRET = "a secret for tests"
MESSAGES = 120
KILLS = 3  # a job is begun five times at most
ENDED_S = 120.0
V1, V2, OWN = "/_synapse/admin/v1", "/_synapse/admin/v2", "/_hansa/admin/v1"


@pytest.fixture
def folder() -> Iterator[Path]:
    """Made here and not below pytest's own folder, which PostgreSQL's user can't pass."""
    made = Path(tempfile.mkdtemp(prefix="hansa-jobs-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Killed:
    """A server process with an owner, and the jobs that were asked of it."""

    def __init__(self, folder: Path, session: aiohttp.ClientSession) -> None:
        admin = free_port()
        self.server = ServerProcess(
            folder, f'[[listeners]]\nbind = "127.0.0.1"\nport = {admin}\napis = ["client", "admin"]'
        )
        self._session = session
        self._base_url = f"http://127.0.0.1:{admin}"
        self.owner = Client(session, self._base_url)

    async def person(self, name: str, *, is_owner: bool = False) -> Client:
        client = Client(self._session, self._base_url)
        nonce = (await client.get(f"{V1}/register")).ok()["nonce"]
        text = "\x00".join([nonce, name, PASSWORD, "admin" if is_owner else "notadmin"])
        mac = hmac.new(SECRET.encode(), text.encode(), hashlib.sha1).hexdigest()
        body = {"nonce": nonce, "username": name, "password": PASSWORD, "admin": is_owner, "mac": mac}
        made = (await client.post(f"{V1}/register", body=body)).ok()
        client.token, client.user_id = made["access_token"], made["user_id"]
        return client

    async def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.owner.get(OWN + "/jobs/{}", job_id)).ok()
        return found

    async def ended(self, job_id: str) -> dict[str, Any]:
        async def has_ended() -> bool:
            return (await self.job(job_id))["state"] not in ("scheduled", "active")

        await until(has_ended, within_s=ENDED_S)
        return await self.job(job_id)


@pytest.fixture
async def killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Killed]:
    monkeypatch.setenv("HANSA_REGISTRATION__SHARED_SECRET", SECRET)
    async with aiohttp.ClientSession() as session:
        made = Killed(folder, session)
        await made.server.start()
        try:
            made.owner = await made.person("owner", is_owner=True)
            yield made
        finally:
            await made.server.stop()


async def talk(client: Client, room_id: str, count: int) -> list[str]:
    return [await client.send(room_id, f"message {number}") for number in range(count)]


async def end_abruptly(killed: Killed, seed: int) -> None:
    """Again and again, wherever it is."""
    chance = random.Random(seed)
    for _ in range(KILLS):
        await killed.server.run_for(chance.random() * 0.4)
        await killed.server.kill()
        await killed.server.start()


async def test_jobs_of_every_kind_survive_being_killed(killed: Killed) -> None:
    """T-J15, T-O6: redaction, purge, deletion with a new room, trial, export, preview and the list of rooms."""
    owner, alice = killed.owner, await killed.person("alice")
    rooms = [await alice.create_room(name=f"Room {number}", preset="public_chat") for number in range(4)]
    for room_id in rooms:
        await owner.join(room_id)
    said = [await talk(alice, room_id, MESSAGES) for room_id in rooms]
    begun = {
        "redact": (await owner.post(
            f"{V1}/user/{{}}/redact", alice.user_id, body={"rooms": [rooms[0]]}
        )).ok()["redact_id"],
        "purge": (await owner.post(
            f"{V1}/purge_history/{{}}/{{}}", rooms[1], said[1][-1], body={"delete_local_events": True}
        )).ok()["purge_id"],
        "delete": (await owner.delete(
            f"{V2}/rooms/{{}}", rooms[2], body={"new_room_user_id": owner.user_id, "block": True}
        )).ok()["delete_id"],
        "trial": (await owner.post(
            f"{OWN}/spam/rules/tried/trial", body={"rule": rule('event.text.contains("message")', version=1), "days": 1}
        )).ok()["job_id"],
        "export": (await owner.post(
            f"{OWN}/exports", body={"kind": "room", "target": rooms[3], "reason": "asked for"}
        )).ok()["export_id"],
        "preview": (await owner.post(f"{OWN}/retention/preview", body={"default_s": 86_400})).ok()["job_id"],
    }  # fmt: skip
    started = await owner.post(f"{V1}/background_updates/start_job", body={"job_name": "populate_stats_process_rooms"})
    assert started.status == 200, started.body
    await end_abruptly(killed, 7)
    jobs = {name: await killed.ended(job_id) for name, job_id in begun.items()}
    assert {name: job["state"] for name, job in jobs.items()} == dict.fromkeys(begun, "complete"), jobs
    await check_redactions(owner, rooms[0], said[0])
    page = (await owner.get(f"{V1}/rooms/{{}}/messages", rooms[1], dir="b", limit="500")).ok()["chunk"]
    assert [one["event_id"] for one in page if one["type"] == "m.room.message"] == [said[1][-1]]
    (await owner.get(f"{V1}/rooms/{{}}", rooms[2])).refused(404, "M_NOT_FOUND")
    assert (await owner.get(f"{V1}/rooms/{{}}/block", rooms[2])).ok()["block"] is True
    shut = (await owner.get(f"{V2}/rooms/delete_status/{{}}", begun["delete"])).ok()["shutdown_room"]
    named = (await owner.get(f"{V1}/rooms", search_term="Content Violation")).ok()["rooms"]
    assert [one["room_id"] for one in named] == [shut["new_room_id"]]
    assert sorted(shut["kicked_users"]) == sorted({*shut["kicked_users"]})


async def check_redactions(owner: Client, room_id: str, said: list[str]) -> None:
    """Each message has one redaction."""
    page = (await owner.get(f"{V1}/rooms/{{}}/messages", room_id, dir="b", limit="1000")).ok()["chunk"]
    redactions = [one for one in page if one["type"] == "m.room.redaction"]
    redacted = [one.get("redacts") or one["content"].get("redacts") for one in redactions]
    assert {*said} <= {*redacted}
    assert len(redacted) == len({*redacted}), len(redacted)


async def test_an_erasure_and_a_scrubbing_survive_being_killed(killed: Killed, folder: Path) -> None:
    """T-I24, T-J15, T-O6: all is erased once, with one receipt, and no byte of it is left; others' words stay."""
    owner, leaving, other = killed.owner, await killed.person("leaving"), await killed.person("other")
    rooms = [await other.create_room(name=f"Room {number}", preset="public_chat") for number in range(2)]
    for room_id in rooms:
        await leaving.join(room_id)
        for number in range(MESSAGES):
            await leaving.send(room_id, f"{CANARY} {number}")
    kept = [await other.send(room_id, "of another") for room_id in rooms]
    (await leaving.put("/profile/{}/displayname", leaving.user_id, body={"displayname": CANARY})).ok()
    (await leaving.put("/user/{}/account_data/org.example.own", leaving.user_id, body={"text": CANARY})).ok()
    for number in range(20):
        body = f"{CANARY} {number}".encode()
        (await leaving.request("POST", "/_matrix/media/v3/upload", data=body)).ok()
    asked = (await owner.post(ERASURES, body={"user_id": leaving.user_id, "reason": "asked for it"})).ok()
    await end_abruptly(killed, 11)

    async def is_done() -> bool:
        return bool((await owner.get(ERASURES + "/{}", asked["id"])).ok()["state"] == "done")

    await until(is_done, within_s=ENDED_S)
    job_id = (await owner.post(f"{OWN}/scrub")).ok()["job_id"]
    await end_abruptly(killed, 12)
    scrub = await killed.ended(job_id)
    assert (scrub["state"], scrub["progress"]["log"]) == ("complete", "cleared"), scrub
    assert files_with(folder / "data", CANARY) == []
    for room_id, event_id in zip(rooms, kept, strict=True):
        page = (await other.get("/rooms/{}/messages", room_id, dir="b", limit=500)).ok()["chunk"]
        said = [one for one in page if one["type"] == "m.room.message"]
        assert len(said) == MESSAGES + 1
        assert [one["event_id"] for one in said if one["content"]] == [event_id]
    entries = (await owner.get(f"{OWN}/audit", target=leaving.user_id, action="user.erased")).ok()["entries"]
    assert len(entries) == 1
    receipt = (await owner.get(ERASURES + "/{}/receipt", asked["id"])).ok()
    assert receipt["counts"]["media"] <= 20 and receipt["counts"]["rows"]["account_data"] == 1
