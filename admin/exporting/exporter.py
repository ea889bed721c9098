"""Writes an export into a folder: files that are whole, or none."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from admin.audit_actions import Action
from admin.exporting.forms import Form, JsonLines, Line, Page, PlainText
from admin.exporting.merkle import MerkleTree
from admin.storage import exports, personal, user_erasures
from admin.storage.exports import Exported
from homeserver.core import canonical_json
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import EventId, RoomId, UserId, domain_of, is_event_id
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import Signer, encode_base64
from homeserver.objects.local import to_end
from homeserver.objects.store import NoSuchObject, ObjectStore
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

EVENTS_AT_ONCE = 500
_ROWS_AT_ONCE = 20_000
_FILES_AT_ONCE = 50
_FIRST = -(2**62)
PART = ".part"


def _parquet() -> Form:
    # Hardly any server has such an export in its life: pyarrow, some 30 MiB, comes with the first.
    from admin.exporting.parquet import Parquet

    return Parquet()


FORMS: dict[str, Callable[[], Form]] = {"jsonl": JsonLines, "html": Page, "text": PlainText, "parquet": _parquet}

Report = Callable[[int, int], Awaitable[None]]

# Of either kind, what the audit log has.
EXPORTED: Final[Mapping[str, Action]] = {"room": "room.export", "user": "user.export"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportWish:
    """What is taken out. Times in milliseconds; events by id, the first and the last; all without.

    `as_sent` gives what redacted events had said, where it is still kept. `files`: what a user uploaded as well.
    """

    kind: Literal["room", "user"]
    target: str
    formats: Sequence[str] = ("jsonl",)
    since_ms: int | None = None
    until_ms: int | None = None
    from_event: str | None = None
    to_event: str | None = None
    as_sent: bool = False
    files: bool = False


@dataclass(slots=True)
class _Under:
    """An export that is being written."""

    folder: Path
    forms: list[Form] = field(default_factory=list)
    tree: MerkleTree = field(default_factory=MerkleTree)
    servers: set[str] = field(default_factory=set)
    rooms: dict[str, str] = field(default_factory=dict)


class Exporter:
    """Reads the database beside whatever else goes on. `objects` is where files lie; None: they stay out."""

    def __init__(self, db: Database, clock: Clock, signer: Signer, objects: ObjectStore | None) -> None:
        self._db = db
        self._clock = clock
        self._signer = signer
        self._objects = objects

    async def check(self, wish: ExportWish) -> None:
        """Raises InvalidParam, NotFound for what can't be taken out."""
        unknown = set(wish.formats) - set(FORMS)
        if unknown or not wish.formats:
            raise InvalidParam(f"formats are {', '.join(sorted(FORMS))}")
        if any(one is not None and not is_event_id(one) for one in (wish.from_event, wish.to_event)):
            raise InvalidParam("these are no event ids")
        if wish.kind == "room":
            if not await exports.count_of_room(self._db, RoomId(wish.target)):
                raise NotFound("this room isn't known here")
        elif wish.from_event or wish.to_event:
            raise InvalidParam("events bound the export of a room, not of a user")
        for event_id in (wish.from_event, wish.to_event):
            if event_id is not None and await self._place(event_id, wish) is None:
                raise NotFound("there is no such event in this room")

    async def write(self, wish: ExportWish, folder: Path, *, made_by: str, report: Report) -> dict[str, Any]:
        """The manifest. `folder` must not be there yet; it is there as a whole or not at all.

        `report` gets how far it is, and of how much. Raises as `check`.
        """
        await self.check(wish)
        part = folder.with_name(folder.name + PART)
        await to_end(_anew, part)
        wanted = {"jsonl", *wish.formats}
        under = _Under(part)
        try:
            await to_end(_open, under, wanted, f"{wish.target}, taken out of {self._signer.server_name}")
            lines = self._of_room(wish, report) if wish.kind == "room" else self._of_user(wish, report)
            async for rows in lines:
                await to_end(_take, under, rows, wish.as_sent)
            await to_end(_close, under)
            if wish.kind == "user":
                await self._personal(UserId(wish.target), part)
                if wish.files:
                    await self._files(UserId(wish.target), part)
            manifest = await self._manifest(wish, under, made_by)
            await to_end(_finish, part, folder, manifest)
        except BaseException:
            await to_end(lambda: shutil.rmtree(part, ignore_errors=True))
            raise
        return manifest

    async def _of_room(self, wish: ExportWish, report: Report) -> AsyncIterator[list[Exported]]:
        room_id, done = RoomId(wish.target), 0
        total = await exports.count_of_room(self._db, room_id)
        first = await self._place(wish.from_event, wish) if wish.from_event else None
        last = await self._place(wish.to_event, wish) if wish.to_event else None
        after = _FIRST
        if (first, last, wish.since_ms, wish.until_ms) == (None, None, None, None):
            while rows := await exports.state_of_room(self._db, room_id, after, EVENTS_AT_ONCE):
                yield rows
                after, done = rows[-1].at, done + len(rows)
                await report(done, total)
        after = _FIRST
        while rows := await exports.of_room(
            self._db,
            room_id,
            after,
            since_ms=wish.since_ms,
            until_ms=wish.until_ms,
            first=first,
            last=last,
            limit=EVENTS_AT_ONCE,
        ):
            yield rows
            after, done = rows[-1].at, done + len(rows)
            await report(done, total)

    async def _of_user(self, wish: ExportWish, report: Report) -> AsyncIterator[list[Exported]]:
        """Goes through all events once: there is no list of what each user said."""
        user_id, after = UserId(wish.target), 0
        total = await user_erasures.last_event(self._db)
        while True:
            upto = await user_erasures.page_end(self._db, after, _ROWS_AT_ONCE)
            if upto is None:
                return
            found = await exports.of_user(
                self._db, user_id, after, upto, since_ms=wish.since_ms, until_ms=wish.until_ms
            )
            for start in range(0, len(found), EVENTS_AT_ONCE):
                yield found[start : start + EVENTS_AT_ONCE]
            after = upto
            await report(after, max(after, total))

    async def _place(self, event_id: str, wish: ExportWish) -> int | None:
        return await exports.place_of(self._db, EventId(event_id), RoomId(wish.target))

    async def _personal(self, user_id: UserId, part: Path) -> None:
        kept = await personal.taken_out(self._db, user_id)
        encoded = orjson.dumps(_readable(kept), option=orjson.OPT_INDENT_2)
        await to_end((part / "user.json").write_bytes, encoded)

    async def _files(self, user_id: UserId, part: Path) -> None:
        """Each under its id, without the name that its uploader gave it: that stands in `user.json`."""
        if self._objects is None:
            return
        folder, after = part / "media", ""
        await to_end(folder.mkdir)
        while files := await exports.files_of(self._db, user_id, after, _FILES_AT_ONCE):
            for file in files:
                target = (folder / file.media_id).open("xb")
                with closing(target):
                    try:
                        async for piece in self._objects.get(file.object):
                            await to_end(target.write, piece)
                    except NoSuchObject:
                        continue
            after = files[-1].media_id

    async def _manifest(self, wish: ExportWish, under: _Under, made_by: str) -> dict[str, Any]:
        own = str(self._signer.server_name)
        keys: dict[str, dict[str, dict[str, Any]]] = {
            own: {self._signer.key_id: {"verify_key": encode_base64(self._signer.verify_key)}}
        }
        for key_id, key, expired_ms in await exports.own_keys(self._db):
            until = {"valid_until_ms": expired_ms} if expired_ms is not None else {}
            keys[own].setdefault(key_id, {"verify_key": encode_base64(key), **until})
        for server, key_id, key, until_ms in await exports.keys_of(self._db, under.servers - {own}):
            keys.setdefault(server, {})[key_id] = {"verify_key": encode_base64(key), "valid_until_ms": until_ms}
        manifest = {
            "type": "hansa.export",
            "version": 1,
            "kind": wish.kind,
            "target": wish.target,
            "server_name": own,
            "made_by": made_by,
            "made_ts": self._clock.now_ms(),
            "selection": {
                "since_ms": wish.since_ms,
                "until_ms": wish.until_ms,
                "from_event": wish.from_event,
                "to_event": wish.to_event,
                "as_sent": wish.as_sent,
            },
            "rooms": under.rooms,
            "events": under.tree.size,
            "merkle_root": under.tree.root().hex(),
            "files": await to_end(_digests, under.folder),
            "keys": keys,
        }
        return self._signer.sign_json(manifest)


def _anew(part: Path) -> None:
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700, parents=True)


def _open(under: _Under, wanted: set[str], title: str) -> None:
    under.forms += [FORMS[name]() for name in sorted(wanted)]
    for form in under.forms:
        form.open(under.folder, title)


def _take(under: _Under, rows: Sequence[Exported], as_sent: bool) -> None:
    lines = [_line(row, as_sent) for row in rows]
    for line in lines:
        under.tree.add(line.encoded)
        under.servers.update(line.pdu.get("signatures", {}))
        under.servers.add(domain_of(line.pdu["sender"]))
        under.rooms[line.record["room_id"]] = line.record["room_version"]
    for form in under.forms:
        form.write(lines)


def _line(row: Exported, as_sent: bool) -> Line:
    pdu = canonical_json.decode(row.json)
    if row.redacted_by is not None and not as_sent:
        pdu = redact(ROOM_VERSIONS[row.version], pdu)
    record = {
        "event_id": row.event_id,
        "room_id": row.room_id,
        "room_version": row.version,
        "place": row.place,
        "received_ts": row.received_ms,
        "redacted_by": row.redacted_by,
        "pdu": pdu,
    }
    return Line(record=record, pdu=pdu, encoded=canonical_json.encode(record))


def _close(under: _Under) -> None:
    for form in under.forms:
        form.close()


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return found


def _finish(part: Path, folder: Path, manifest: dict[str, Any]) -> None:
    (part / "manifest.json").write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
    part.rename(folder)


def _readable(value: Any) -> Any:
    """Bytes as the JSON that they are, or as text."""
    if isinstance(value, bytes):
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return encode_base64(value)
    if isinstance(value, dict):
        return {key: _readable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_readable(item) for item in value]
    return value
