"""What is taken out verifies without this server, does nothing where it is read, and is written down."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import duckdb
import pytest

from admin.exporting.merkle import MerkleTree
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

EXPORTS = "/_hansa/admin/v1/exports"
SCRIPT = Path(__file__).parents[2] / "docs" / "verify_export.py"
NASTY = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    '=HYPERLINK("http://evil.test")',
    "\x1b[2J\x1b]0;owned\x07",
    "left\u202eright",
    "a\nb\u2028c",
    "</title></p><svg onload=alert(1)>",
]


async def exported(operator: Client, **body: Any) -> str:
    """The id of an export that is done."""
    begun: str = (await operator.post(EXPORTS, body={"reason": "case 12", **body})).ok()["export_id"]

    async def is_done() -> bool:
        job = (await operator.get("/_hansa/admin/v1/jobs/{}", begun)).ok()
        assert job["state"] in ("scheduled", "active", "complete"), job
        return bool(job["state"] == "complete")

    await until(is_done)
    return begun


async def taken(operator: Client, export_id: str, folder: Path) -> Path:
    """All files of an export, as somebody else would get them."""
    manifest = await operator.get(EXPORTS + "/{}", export_id)
    for name in [*manifest.ok()["files"], "manifest.json"]:
        answer = await operator.get(EXPORTS + "/{}/files/{}", export_id, name)
        assert answer.status == 200 and answer.headers["Content-Disposition"] == "attachment"
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(answer.body)
    return folder


async def verified(folder: Path, *arguments: str) -> tuple[int, str]:
    """What the script says, run by itself: without this repository in its path."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(SCRIPT), str(folder), *arguments, stdout=asyncio.subprocess.PIPE, cwd=folder
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_bytes().splitlines()]


def bodies_of(folder: Path) -> list[str | None]:
    lines = lines_of(folder)
    return [line["pdu"]["content"].get("body") for line in lines if line["pdu"]["type"] == "m.room.message"]


async def test_an_exported_room_verifies_without_us(server: RunningServer, crew: Crew, tmp_path: Path) -> None:
    """T-G11, T-J16: ids, hashes, signatures and root are right; redacted content isn't in it; who took it is known."""
    user = crew.user
    room_id = await user.create_room(preset="public_chat", name="Town")
    await crew.admin.join(room_id)
    await user.send(room_id, "kept")
    gone = await user.send(room_id, "taken back")
    (await user.put("/rooms/{}/redact/{}/1", room_id, gone)).ok()
    export_id = await exported(crew.admin, kind="room", target=room_id, formats=["html", "text"])
    folder = await taken(crew.admin, export_id, tmp_path / "out")
    code, said = await verified(folder)
    assert code == 0 and "all verified" in said and "1 skeletons" in said, said
    assert bodies_of(folder) == ["kept", None]
    key = server.hansa.base.signer
    kept = json.loads((folder / "manifest.json").read_text())["keys"][key.server_name][key.key_id]
    assert (await verified(folder, "--key", f"{key.server_name}/{key.key_id}={kept['verify_key']}"))[0] == 0
    other = f"{key.server_name}/{key.key_id}={'A' * 43}"
    assert (await verified(folder, "--key", other))[0] == 1
    rows = (await crew.owner.get("/_hansa/admin/v1/audit", target=room_id)).ok()["entries"]
    assert {row["action"] for row in rows} == {"room.export", "export.take"}
    assert [row["reason"] for row in rows if row["action"] == "room.export"] == ["case 12"]


def _as_another(folder: Path) -> None:
    lines = lines_of(folder)
    lines[-1]["pdu"]["content"]["body"] = "never said"
    _write(folder, lines)


def _without_one(folder: Path) -> None:
    _write(folder, lines_of(folder)[:-1])


def _in_another_order(folder: Path) -> None:
    _write(folder, lines_of(folder)[::-1])


def _other_manifest(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "made_by": "@other:hansa.test"}))


def _other_page(folder: Path) -> None:
    (folder / "events.html").write_text("nothing was said")


def _no_page(folder: Path) -> None:
    (folder / "events.html").unlink()


def _write(folder: Path, lines: list[dict[str, Any]]) -> None:
    encoded = [json.dumps(line, ensure_ascii=False, separators=(",", ":"), sort_keys=True) for line in lines]
    (folder / "events.jsonl").write_text("".join(line + "\n" for line in encoded))


@pytest.mark.parametrize(
    "change", [_as_another, _without_one, _in_another_order, _other_manifest, _other_page, _no_page]
)
async def test_what_was_changed_shows(server: RunningServer, crew: Crew, tmp_path: Path, change: Any) -> None:
    room_id = await crew.user.create_room()
    for number in range(5):
        await crew.user.send(room_id, str(number))
    export_id = await exported(crew.owner, kind="room", target=room_id, formats=["html"])
    folder = await taken(crew.owner, export_id, tmp_path / "out")
    assert (await verified(folder))[0] == 0
    change(folder)
    code, said = await verified(folder)
    assert code == 1 and "WRONG" in said, said


async def test_nasty_strings_stay_strings(server: RunningServer, crew: Crew, tmp_path: Path) -> None:
    """T-J13: names and messages run nothing on the page, do nothing to a terminal, and lead nowhere in a path."""
    user = crew.user
    (await user.put("/profile/{}/displayname", user.user_id, body={"displayname": NASTY[1]})).ok()
    room_id = await user.create_room(name=NASTY[0], topic=NASTY[6])
    for text in NASTY:
        await user.send(room_id, text)
    name = "../../etc/passwd"
    upload = await user.request("POST", "/_matrix/media/v3/upload", data=b"x", query={"filename": name})
    await user.send(room_id, "file", url=upload.ok()["content_uri"], filename=name)
    export_id = await exported(crew.owner, kind="user", target=user.user_id, formats=["html", "text"], files=True)
    folder = await taken(crew.owner, export_id, tmp_path / "out")
    assert (await verified(folder))[0] == 0
    page, text = (folder / "events.html").read_text(), (folder / "events.txt").read_text()
    for tag in ("<script", "<img", "<svg", "onerror=alert(1)>"):
        assert tag not in page.replace("&lt;", "").replace("&gt;", "") or tag.startswith("on")
    assert "<script" not in page and "<img" not in page and "<svg" not in page
    assert "default-src 'none'" in page and "&lt;script&gt;" in page
    assert not any(char in text for char in "\x1b\x07\u202e\u2028")
    assert sorted(path.name for path in (folder / "media").iterdir()) == [upload.json["content_uri"].rsplit("/", 1)[1]]


async def test_parquet_is_plain(server: RunningServer, crew: Crew, tmp_path: Path) -> None:
    """DuckDB reads it without us, and finds the same events as in the lines."""
    room_id = await crew.user.create_room()
    for text in ("one", "two", NASTY[2]):
        await crew.user.send(room_id, text)
    export_id = await exported(crew.owner, kind="room", target=room_id, formats=["parquet"])
    folder = await taken(crew.owner, export_id, tmp_path / "out")
    assert (await verified(folder))[0] == 0
    sql = "SELECT event_id, body, pdu FROM read_parquet(?) WHERE type = 'm.room.message' ORDER BY place"
    found = duckdb.connect().execute(sql, [str(folder / "events.parquet")]).fetchall()
    lines = [line for line in lines_of(folder) if line["pdu"]["type"] == "m.room.message"]
    assert [(name, json.loads(pdu)) for name, _, pdu in found] == [(line["event_id"], line["pdu"]) for line in lines]
    assert [body for _, body, _ in found] == ["one", "two", NASTY[2]]


async def test_a_part_of_a_room(server: RunningServer, crew: Crew, tmp_path: Path) -> None:
    """By events, and by time."""
    user = crew.user
    room_id = await user.create_room()
    sent = [await user.send(room_id, str(number)) for number in range(5)]
    export_id = await exported(crew.owner, kind="room", target=room_id, from_event=sent[1], to_event=sent[3])
    folder = await taken(crew.owner, export_id, tmp_path / "events")
    assert bodies_of(folder) == ["1", "2", "3"] and (await verified(folder))[0] == 0
    late = 4_102_444_800_000
    for part, expected in (({"since_ts": late}, 0), ({"until_ts": late, "since_ts": 1}, 5), ({"until_ts": 1}, 0)):
        export_id = await exported(crew.owner, kind="room", target=room_id, **part)
        folder = await taken(crew.owner, export_id, tmp_path / f"time{part}")
        assert len(bodies_of(folder)) == expected and (await verified(folder))[0] == 0


async def test_all_that_is_kept_of_a_user(server: RunningServer, crew: Crew, tmp_path: Path) -> None:
    """T-F15, T-J5: what they said anywhere and what is kept of them; nothing that others said, no secret."""
    user, other = crew.user, await server.user("other")
    room_id = await other.create_room(preset="public_chat")
    await user.join(room_id)
    await user.send(room_id, "mine")
    await other.send(room_id, "of another")
    path = "/user/{}/account_data/org.example.own"
    (await user.put(path, user.user_id, body={"text": "kept for me"})).ok()
    export_id = await exported(crew.owner, kind="user", target=user.user_id)
    folder = await taken(crew.owner, export_id, tmp_path / "out")
    assert bodies_of(folder) == ["mine"]
    kept = json.loads((folder / "user.json").read_text())
    assert kept["account"][0]["user_id"] == user.user_id and kept["devices"][0]["device_id"] == user.device_id
    assert {"room_id": "", "type": "org.example.own", "content": {"text": "kept for me"}} in kept["account_data"]
    assert room_id in [room["room_id"] for room in kept["rooms"]]
    everything = "".join(path.read_text() for path in folder.iterdir())
    assert "of another" not in everything and str(user.token) not in everything and "argon2" not in everything


async def test_who_is_erased_leaves_kept_exports(server: RunningServer, crew: Crew) -> None:
    user = await server.user("leaving")
    room_id = await user.create_room(preset="public_chat")
    own, room = [
        await exported(crew.owner, kind=kind, target=target)
        for kind, target in (("user", user.user_id), ("room", room_id))
    ]
    elsewhere = await exported(crew.owner, kind="room", target=await crew.user.create_room())
    (await crew.owner.post("/_hansa/admin/v1/erasures", body={"user_id": user.user_id, "reason": "asked"})).ok()

    async def are_gone() -> bool:
        answers = [await crew.owner.get(EXPORTS + "/{}", one) for one in (own, room)]
        return all(answer.status == 404 for answer in answers)

    await until(are_gone)
    (await crew.owner.get(EXPORTS + "/{}", elsewhere)).ok()
    (await crew.owner.delete(EXPORTS + "/{}", elsewhere)).ok()
    (await crew.owner.get(EXPORTS + "/{}", elsewhere)).refused(404, "M_NOT_FOUND")


async def test_redacted_content_is_for_owners(server: RunningServer, crew: Crew, tmp_path: Path) -> None:
    """T-J2: evidence that is still kept; an admin neither makes nor takes such an export."""
    user = crew.user
    room_id = await user.create_room()
    gone = await user.send(room_id, "taken back")
    (await user.put("/rooms/{}/redact/{}/1", room_id, gone)).ok()
    wish = {"kind": "room", "target": room_id, "as_sent": True, "reason": "case 12"}
    (await crew.admin.post(EXPORTS, body=wish)).refused(403, "M_FORBIDDEN")
    export_id = await exported(crew.owner, **wish)
    (await crew.admin.get(EXPORTS + "/{}/files/events.jsonl", export_id)).refused(403, "M_FORBIDDEN")
    folder = await taken(crew.owner, export_id, tmp_path / "out")
    assert bodies_of(folder) == ["taken back"] and (await verified(folder))[0] == 0


@pytest.mark.parametrize(
    ("wish", "status", "errcode"),
    [
        ({"kind": "room", "target": "@a:hansa.test"}, 400, "M_INVALID_PARAM"),
        ({"kind": "user", "target": "a\x00"}, 400, "M_INVALID_PARAM"),
        ({"kind": "room", "target": "!none:hansa.test"}, 404, "M_NOT_FOUND"),
        ({"kind": "server", "target": "hansa.test"}, 400, "M_BAD_JSON"),
        ({"kind": "room", "target": "!none:hansa.test", "formats": []}, 400, "M_INVALID_PARAM"),
        ({"kind": "room", "target": "!none:hansa.test", "from_event": "a\x00"}, 400, "M_INVALID_PARAM"),
        ({"kind": "user", "target": "@a:hansa.test", "from_event": "$a"}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_what_is_refused(
    server: RunningServer, crew: Crew, wish: dict[str, Any], status: int, errcode: str
) -> None:
    (await crew.owner.post(EXPORTS, body={"reason": "x", **wish})).refused(status, errcode)


@pytest.mark.parametrize("name", ["..%2fmanifest.json", "%2e%2e", "media%2f..%2f..%2fx", "none.json", "%00"])
async def test_no_file_but_those_of_the_export(server: RunningServer, crew: Crew, name: str) -> None:
    """T-H: names lead nowhere else."""
    export_id = await exported(crew.owner, kind="room", target=await crew.user.create_room())
    answer = await crew.owner.request("GET", f"{EXPORTS}/{export_id}/files/{name}")
    assert answer.status in (400, 404)
    for other in ("..", "none", "%00", "..%2f..%2fx"):
        assert (await crew.owner.request("GET", f"{EXPORTS}/{other}")).status in (400, 404)
    (await crew.moderator.get(EXPORTS + "/{}", export_id)).refused(403, "M_FORBIDDEN")


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("verify_export", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("version", list(ROOM_VERSIONS))
def test_the_script_redacts_as_we_do(version: str) -> None:
    """The script has the rules of each room version in its own words."""
    script = _script()
    types = [f"m.room.{name}" for name in "member create join_rules power_levels aliases redaction message".split()]
    for kind in [*types, "m.room.history_visibility", "org.example.own"]:
        kept = ROOM_VERSIONS[version].kept_content.get(kind, frozenset())
        content = dict.fromkeys({*kept, "creator", "allow", "invite", "redacts", "body", "aliases"} - {"*"}, 1)
        content["third_party_invite"] = {"signed": {"token": "t"}, "display_name": "x"}  # type: ignore[assignment]
        pdu = {"type": kind, "content": content, "sender": "@a:b", "origin": "b", "membership": "join", "extra": 1}
        assert script.redacted(script.version_number(version), pdu) == redact(ROOM_VERSIONS[version], pdu), kind


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 100])
def test_the_root_is_that_of_rfc_6962(size: int) -> None:
    def root(leaves: list[bytes]) -> bytes:
        if not leaves:
            return hashlib.sha256(b"").digest()
        if len(leaves) == 1:
            return hashlib.sha256(b"\x00" + leaves[0]).digest()
        half = 1
        while half * 2 < len(leaves):
            half *= 2
        return hashlib.sha256(b"\x01" + root(leaves[:half]) + root(leaves[half:])).digest()

    leaves = [str(number).encode() for number in range(size)]
    tree, other = MerkleTree(), _script().Tree()
    for leaf in leaves:
        tree.add(leaf)
        other.add(leaf)
    assert tree.root() == other.root() == root(leaves)
