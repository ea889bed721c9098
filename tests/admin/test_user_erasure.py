"""One request erases a user: nothing of what they said or kept is left in any byte, and rooms go on."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tantivy
from nacl.signing import VerifyKey

from admin.storage import personal, scrubbing
from homeserver.core import canonical_json
from homeserver.core.events import event_id_of, signed_form
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import signed_bytes
from homeserver.storage.database import Database
from tests.admin.console.furnished import picture_of
from tests.admin.people import Crew, crew_of
from tests.appservices.conftest import bridge_client, ghost
from tests.kit.bridge import bridge_for_tests
from tests.kit.postgres import PostgresForTests
from tests.kit.server import Client, RunningServer, config_for_tests, running_server
from tests.kit.sliding import SlidingClient, window
from tests.kit.until import until

ERASURES = "/_hansa/admin/v1/erasures"
CANARY = "xylophonquark"


async def erased(server: RunningServer, operator: Client, user_id: str, **options: Any) -> dict[str, Any]:
    """The receipt, once the user is erased."""
    body = {"user_id": user_id, "reason": "asked for it", **options}
    begun = (await operator.post(ERASURES, body=body)).ok()
    receipt: dict[str, Any] = {}

    async def is_done() -> bool:
        answer = await operator.get(ERASURES + "/{}/receipt", begun["id"])
        if answer.status == 200:
            receipt.update(answer.json)
        return answer.status == 200

    await until(is_done)
    return receipt


async def scrubbed(operator: Client) -> dict[str, Any]:
    """The job, once all files are rewritten."""
    job_id = (await operator.post("/_hansa/admin/v1/scrub")).ok()["job_id"]
    job: dict[str, Any] = {}

    async def has_ended() -> bool:
        job.update((await operator.get("/_hansa/admin/v1/jobs/{}", job_id)).ok())
        return job["state"] not in ("scheduled", "active")

    await until(has_ended, within_s=60)
    return job


def files_with(folder: Path, canary: str) -> list[str]:
    """Files below a folder in whose bytes the word stands, in any case, as text or as base64 of its beginning."""
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes().lower()
            if canary.encode() in data:
                found.append(str(path.relative_to(folder)))
    return found


async def leave_traces(user: Client, other: Client) -> tuple[str, str]:
    """The word in everything that a user can say or keep; a room with another, and a message of the other."""
    word = CANARY
    (await user.put("/profile/{}/displayname", user.user_id, body={"displayname": f"name {word}"})).ok()
    room_id = await other.create_room(preset="public_chat")
    await user.join(room_id)
    first = await user.send(room_id, f"said {word}")
    relation = {"rel_type": "m.replace", "event_id": first}
    new = {"msgtype": "m.text", "body": f"edited {word}"}
    await user.send(room_id, f"* edited {word}", **{"m.relates_to": relation, "m.new_content": new})
    reaction = {"m.relates_to": {"rel_type": "m.annotation", "event_id": first, "key": word}}
    (await user.put("/rooms/{}/send/m.reaction/{}", room_id, f"txn-{word}", body=reaction)).ok()
    gone = await user.send(room_id, f"redacted {word}")
    (await user.put("/rooms/{}/redact/{}/1", room_id, gone, body={"reason": word})).ok()
    own = await user.create_room(name=f"room {word}", topic=f"topic {word}")
    (await user.put("/rooms/{}/state/org.example.own/{}", own, "", body={"text": word})).ok()
    (await user.post("/rooms/{}/invite", own, body={"user_id": other.user_id, "reason": word})).ok()
    upload = await user.request(
        "POST", "/_matrix/media/v3/upload", data=word.encode() * 50, query={"filename": f"{word}.txt"}
    )
    await user.send(room_id, "a file", msgtype="m.file", url=upload.ok()["content_uri"], filename=word)
    path = "/user/{}/account_data/org.example.own"
    (await user.put(path, user.user_id, body={"text": word})).ok()
    (await user.put("/devices/{}", user.device_id, body={"display_name": f"phone {word}"})).ok()
    (await user.put("/presence/{}/status", user.user_id, body={"presence": "online", "status_msg": word})).ok()
    (await user.post("/user/{}/filter", user.user_id, body={"room": {"rooms": [f"!{word}:hansa.test"]}})).ok()
    (await user.post("/users/{}/report", other.user_id, body={"reason": f"because {word}"})).ok()
    messages = {"messages": {other.user_id: {"*": {"text": word}}}}
    (await user.put("/sendToDevice/org.example.own/1", body=messages)).ok()
    await leave_more_traces(user, room_id, word)
    rule = {"actions": ["notify"], "pattern": word}
    (await user.put("/pushrules/global/content/own", body=rule)).ok()
    kept = await other.send(room_id, "of another")
    return room_id, kept


async def leave_more_traces(user: Client, room_id: str, word: str) -> None:
    """Where programs keep what they like: names of devices, connections, transactions and keys, and what waits."""
    login = {**_login("leaving"), "device_id": f"device-{word}"}
    (await user.post("/login", body=login)).ok()
    await SlidingClient(user, word).sync(lists={"main": window()})
    (await user.put("/sendToDevice/org.example.own/{}", word, body={"messages": {}})).ok()
    keys = {f"signed_curve25519:{word}": {"key": "x" * 43, "signatures": {}, "note": word}}
    (await user.post("/keys/upload", body={"one_time_keys": keys, "fallback_keys": keys})).ok()
    (await user.post("/_hansa/client/v1/saved_searches", body={"term": word, "name": word})).ok()
    query = {"org.matrix.msc4140.delay": 10_000_000}
    path, body = "/rooms/{}/send/m.room.message/late", {"msgtype": "m.text", "body": f"later {word}"}
    (await user.request("PUT", path, room_id, body=body, query=query)).ok()
    picture = await picture_of(user)
    thumbnail = "/_matrix/client/v1/media/thumbnail/hansa.test/{}"
    seen = await user.request("GET", thumbnail, picture, query={"width": "32", "height": "32"})
    assert seen.status == 200


@pytest.mark.slow
async def test_no_byte_is_left(database_dsn: str, postgres: PostgresForTests, tmp_path: Path) -> None:
    """T-C13, T-G11, T-I24: canaries in messages, edits, reactions, names, files, account data, devices and queues are
    in no file of the database, its log, the index or the media afterwards; a signed receipt tells the counts.
    """
    async with bridge_for_tests() as bridge:
        paths = f'"{bridge.register(tmp_path)}"'
        config = config_for_tests(tmp_path, f"[appservices]\nregistration_paths = [{paths}]\n")
        async with running_server(database_dsn, config=replace(config)) as server:
            crew = await crew_of(server)
            user, other = await server.user("leaving"), crew.user
            room_id, kept = await leave_traces(user, other)
            ghost_id = await ghost(server, "_irc_bob")
            await bridge_client(server).request("POST", f"/join/{room_id}", body={}, query={"user_id": ghost_id})
            await bridge.next()
            bridge.status = 500
            await user.send(room_id, f"to the bridge {CANARY}")
            found = (await other.post("/search", body=_search(CANARY))).ok()
            assert found["search_categories"]["room_events"]["count"] > 0
            await until(is_waiting(server))
            assert files_with(postgres.folder, CANARY), "else nothing is proved"
            assert any(name.startswith("media/") for name in files_with(tmp_path, CANARY))
            assert words_of_index(tmp_path) & {CANARY}
            receipt = await erased(server, crew.owner, user.user_id)
            assert receipt["counts"]["places"]["appservice_queues"] >= 1
            job = await scrubbed(crew.owner)
            assert (job["state"], job["progress"]["log"]) == ("complete", "cleared"), job
            left = files_with(postgres.folder, CANARY)
            nodes = [int(name.rsplit("/", 1)[1]) for name in left if name.startswith("base/")]
            tables = await server.db.fetch("SELECT pg_filenode_relation(0, n)::text FROM unnest($1::oid[]) n", nodes)
            assert not left, (left, tables)
            assert files_with(tmp_path, CANARY) == []
            assert not [path for path in (tmp_path / "media").rglob("*") if path.is_file()], "pictures are packed"
            assert not words_of_index(tmp_path) & {CANARY}
            counts = receipt["counts"]
            assert counts["events"] >= 8 and counts["media"] == 2 and counts["rows"]["account_data"] >= 1
            found = (await other.post("/search", body=_search(CANARY))).ok()
            assert found["search_categories"]["room_events"]["count"] == 0
            chunk = (await other.get("/rooms/{}/messages", room_id, dir="b", limit=50)).ok()["chunk"]
            assert CANARY not in json.dumps(chunk) and kept in [event["event_id"] for event in chunk]
            await other.send(room_id, "the room goes on")
            check_receipt(server, receipt)


def is_waiting(server: RunningServer) -> Any:
    """Whether a transaction with the word waits for the bridge."""

    async def waits() -> bool:
        pending = await server.db.fetchval("SELECT convert_from(pending, 'UTF8') FROM appservice_queues")
        return CANARY in (pending or "")

    return waits


def words_of_index(folder: Path) -> set[str]:
    """Words that begin like the canary in the dictionaries of the search index: those of deleted documents too."""
    index = tantivy.Index.open(str(folder / "search"))
    return {term for term, _ in index.searcher().terms_with_prefix("tokens", CANARY[:6])}


def _search(term: str) -> dict[str, Any]:
    return {"search_categories": {"room_events": {"search_term": term, "keys": ["content.body"]}}}


def check_receipt(server: RunningServer, receipt: dict[str, Any]) -> None:
    """Whether this server's key signed it."""
    signer = server.hansa.base.signer
    signature = receipt["signatures"][signer.server_name][signer.key_id]
    VerifyKey(signer.verify_key).verify(signed_bytes(receipt), base64.b64decode(signature + "=="))


async def test_the_graph_stays_whole(server: RunningServer, crew: Crew) -> None:
    """Every skeleton has the id and the signature that it had; membership and power are what they were."""
    user, other = await server.user("leaving"), crew.user
    room_id = await user.create_room(preset="public_chat", name="kept for the others")
    await other.join(room_id)
    await user.send(room_id, "gone soon")
    before = (await other.get("/rooms/{}/state/m.room.power_levels", room_id)).ok()
    receipt = await erased(server, crew.owner, user.user_id)
    assert receipt["counts"]["events_kept"] >= 1
    rows = await server.db.fetch("SELECT event_id, json FROM events")
    signer, version = server.hansa.base.signer, ROOM_VERSIONS["12"]
    for row in rows:
        pdu = canonical_json.decode(row["json"])
        assert event_id_of(version, pdu) == row["event_id"]
        signature = pdu["signatures"][signer.server_name][signer.key_id]
        VerifyKey(signer.verify_key).verify(signed_form(version, pdu), base64.b64decode(signature + "=="))
    assert (await other.get("/rooms/{}/state/m.room.power_levels", room_id)).ok() == before
    assert (await other.get("/rooms/{}/state/m.room.name", room_id)).ok()["name"] == "kept for the others"
    members = (await other.get("/rooms/{}/joined_members", room_id)).ok()["joined"]
    assert list(members) == [other.user_id]
    (await server.anonymous().post("/login", body=_login("leaving"))).refused(403, "M_FORBIDDEN")


def _login(name: str) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": name}
    return {"type": "m.login.password", "identifier": identifier, "password": "correct horse battery"}


async def test_also_what_rooms_are_called(server: RunningServer, crew: Crew) -> None:
    user, other = await server.user("leaving"), crew.user
    room_id = await user.create_room(preset="public_chat", name=CANARY)
    await other.join(room_id)
    await erased(server, crew.owner, user.user_id, room_names=True)
    assert (await other.get("/rooms/{}/state/m.room.name", room_id)).ok() == {}
    rows = await server.db.fetch(
        "SELECT name FROM room_overviews UNION ALL SELECT convert_from(json, 'UTF8') FROM events"
    )
    assert not any(CANARY in (row["name"] or "") for row in rows)


async def test_who_is_held_waits(server: RunningServer, crew: Crew) -> None:
    """The wish is kept with its reason; it begins by itself once the hold is released."""
    user = await server.user("leaving")
    room_id = await user.create_room()
    event_id = await user.send(room_id, "evidence")
    holds = "/_hansa/admin/v1/holds"
    body = {"kind": "room", "target": room_id, "reason": "case 12"}
    hold_id = (await crew.owner.post(holds, body=body)).ok()["id"]
    wish = {"user_id": user.user_id, "reason": "asked for it"}
    asked = (await crew.owner.post(ERASURES, body=wish)).ok()
    assert (asked["state"], asked["waits_for"]) == ("waiting", "a legal hold")
    assert (await crew.owner.post(ERASURES, body=wish)).status == 409
    (await crew.owner.get(ERASURES + "/{}/receipt", asked["id"])).refused(404, "M_NOT_FOUND")
    assert (await user.get("/rooms/{}/event/{}", room_id, event_id)).ok()["content"]["body"] == "evidence"
    (await crew.owner.post(holds + "/{}/release", hold_id, body={"reason": "closed"})).ok()
    await server.hansa.admin.evidence.erasure.begin_ready()

    async def is_done() -> bool:
        return bool((await crew.owner.get(ERASURES + "/{}", asked["id"])).ok()["state"] == "done")

    await until(is_done)


async def test_who_may_not(server: RunningServer, crew: Crew) -> None:
    """T-J2: not moderators and auditors, nobody above, not without a reason."""
    body = {"user_id": crew.user.user_id, "reason": "x"}
    for client in (crew.moderator, crew.auditor, crew.user):
        (await client.post(ERASURES, body=body)).refused(403, "M_FORBIDDEN")
    above = {"user_id": crew.owner.user_id, "reason": "x"}
    (await crew.admin.post(ERASURES, body=above)).refused(403, "M_FORBIDDEN")
    (await crew.admin.post(ERASURES, body={**body, "reason": " "})).refused(400, "M_INVALID_PARAM")
    (await crew.admin.post(ERASURES, body={**body, "user_id": "user"})).refused(400, "M_INVALID_PARAM")
    nobody = {"user_id": "@nobody:hansa.test", "reason": "x"}
    (await crew.admin.post(ERASURES, body=nobody)).refused(404, "M_NOT_FOUND")
    (await crew.auditor.post("/_hansa/admin/v1/scrub")).refused(403, "M_FORBIDDEN")
    assert (await crew.auditor.get(ERASURES)).ok() == {"erasures": []}
    rows = (await crew.owner.get("/_hansa/admin/v1/audit", action="user.erase")).ok()["entries"]
    assert rows == []


def test_every_table_that_something_is_deleted_from_is_rewritten() -> None:
    assert set(personal.OWN) - set(scrubbing.TABLES) == set()


async def test_every_table_that_names_users_is_accounted_for(database: Database) -> None:
    """A new table is either erased with the user, or says why it stays."""
    named = await personal.tables_naming_users(database)
    assert named - set(personal.OWN) - set(personal.STAYS) == set()
    assert await personal.counts(database, "@nobody:hansa.test") == {}  # type: ignore[arg-type]
