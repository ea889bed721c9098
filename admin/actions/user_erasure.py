"""Erases a user: account, messages, files, and what indexes, archives and queues hold of them. With a signed receipt.

What stays is what rooms are made of: the skeletons of events (ids, hashes, signatures, who was in which room), which
verify here and elsewhere as those of redacted events do. A user whom a legal hold keeps waits until it is released.
Beginning again finds what is erased already, and goes on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from admin.actions.targets import AccountTools
from admin.audit import entry_of
from admin.jobs import Job, Jobs
from admin.storage import personal, user_erasures
from admin.storage.user_erasures import ErasureRow, Said
from homeserver.accounts.deactivation import Deactivation
from homeserver.core import canonical_json
from homeserver.core.errors import InvalidParam, MatrixError, NotFound, Unavailable
from homeserver.core.identifiers import RoomId, UserId, domain_of
from homeserver.core.operators import Permission, Role
from homeserver.core.redaction import redact
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import Signer
from homeserver.journal.journal import Journal
from homeserver.media.repository import MediaRepository
from homeserver.ports import ContentKeeper
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.residents import Rooms
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.ids import Randomness
from homeserver.storage.database import Tx
from homeserver.web.endpoint import Operator

KIND = "erase_user"
REASON_CHARS_MAX = 1_000
LISTED_MAX = 500
EVERY_S = 5.0
_ROWS_AT_ONCE = 20_000
_ERASED_AT_ONCE = 500
_MEDIA_AT_ONCE = 200
_READY_AT_ONCE = 20
# State that rooms run on: without it they would be other rooms here than elsewhere. The redaction algorithm keeps the
# rest of what they need (power levels, join rules, who is in them).
RUNNING = frozenset(
    "m.room.encryption m.room.server_acl m.room.canonical_alias m.room.tombstone m.room.guest_access m.room.retention "
    "m.room.pinned_events m.room.policy m.space.child m.space.parent m.policy.rule.user m.policy.rule.room "
    "m.policy.rule.server m.room.third_party_invite".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureTools:
    """What erasing is done with. `keepers` are the places beside the database."""

    rooms: Rooms
    events: EventStore
    writer: RoomWriter
    journal: Journal
    media: MediaRepository
    deactivation: Deactivation
    signer: Signer
    randomness: Randomness
    keepers: Mapping[str, ContentKeeper]


class UserErasure:
    """Takes wishes, does them as jobs, gives receipts."""

    def __init__(self, jobs: Jobs, accounts: AccountTools, tools: ErasureTools) -> None:
        self._jobs = jobs
        self._accounts = accounts
        self._tools = tools
        jobs.provide(KIND, self._erase)

    async def begin(self, user_id: UserId, *, reason: str, room_names: bool = False, by: Operator) -> ErasureRow:
        """The wish, begun or waiting. With `room_names`, also what the user called rooms that others are still in.

        Of a user of another server, what is kept here. Raises Forbidden, InvalidParam, NotFound for one of ours who
        isn't there; MatrixError (409) where one is open and its job goes on.
        """
        by.check(Permission.END_USERS)
        if not reason.strip() or len(reason) > REASON_CHARS_MAX or "\x00" in reason:
            raise InvalidParam(f"give a reason of 1 to {REASON_CHARS_MAX} characters")
        accounts = self._accounts
        if self._is_local(user_id):
            await accounts.target(by, user_id, "")
        await accounts.four_eyes.check("erase", user_id, Permission.END_USERS, by=by)
        row = ErasureRow(
            erasure_id=self._tools.randomness.letters(16),
            user_id=user_id,
            options=orjson.dumps({"room_names": room_names}).decode(),
            asked_by=by.user_id,
            asked_ts=accounts.clock.now_ms(),
            reason=reason,
            state="waiting",
            job_id=None,
            receipt=None,
        )
        async with accounts.db.transaction() as tx:
            erasure_id: str | None = row.erasure_id
            if not await user_erasures.insert(tx, row):
                # One that failed, or was cancelled, goes on when it is asked for again.
                erasure_id = await user_erasures.back(tx, user_id, KIND)
            if erasure_id is None:
                raise MatrixError("this user is being erased already", status=409)
            after = {"erasure": erasure_id, "room_names": room_names}
            await accounts.audit.record(tx, entry_of(by, "user.erase", user_id, reason=reason, after=after))
        await self.begin_ready()
        return await self.one(erasure_id)

    async def one(self, erasure_id: str) -> ErasureRow:
        """Raises NotFound."""
        row = await user_erasures.one(self._accounts.db, erasure_id)
        if row is None:
            raise NotFound("there is no such erasure")
        return row

    async def page(self, user_id: str | None = None, limit: int = 100) -> list[ErasureRow]:
        """The newest first; at most `LISTED_MAX`."""
        return await user_erasures.page(self._accounts.db, user_id, min(max(limit, 1), LISTED_MAX))

    async def run(self) -> None:
        """One round of a background task: those whose hold was released begin, and what commands asked for."""
        await self.begin_ready()
        await self._accounts.clock.sleep(EVERY_S)

    async def begin_ready(self) -> None:
        """Begins all that wait for nothing."""
        for row in await user_erasures.ready(self._accounts.db, _READY_AT_ONCE):

            async def begin(tx: Tx, row: ErasureRow = row) -> None:
                await user_erasures.begin(tx, row.erasure_id, "")

            by = Operator(user_id=row.asked_by, role=Role.OWNER)
            arguments = {"erasure": row.erasure_id, **orjson.loads(row.options)}
            await self._jobs.begin(
                KIND, row.user_id, arguments, by=by, action="user.erase_begin", reason=row.reason, also=begin
            )

    # --- the work

    async def _erase(self, job: Job) -> None:
        user_id, done = UserId(job.target), job.progress
        row = await self.one(str(job.arguments["erasure"]))
        if row.state == "done":  # the server ended after the receipt and before the job did
            return
        done.setdefault("begun_ts", self._accounts.clock.now_ms())
        if "rows" not in done:
            done["rows"] = await personal.counts(self._accounts.db, user_id)
            await job.note()
        if self._is_local(user_id) and "deactivated" not in done:
            await self._tools.deactivation.deactivate(user_id, erase=True)
            done["deactivated"] = True
            await job.note()
        await self._events(job, user_id)
        await self._stripped(user_id, done)
        await self._media(job, user_id)
        async with self._accounts.db.transaction() as tx:
            await personal.delete(tx, user_id)
        if done.get("unreadable"):
            raise Unavailable(
                f"what {done['unreadable']} events said is in objects of the archive that can't be read: bring these "
                "back, type `hansa archive verify`, and ask again; the rest goes on then"
            )
        kept = done.setdefault("keepers", {})
        for name, keeper in self._tools.keepers.items():
            count = await keeper.forget(user_id)
            kept[name] = "done" if count is None else kept.get(name, 0) + count
            await job.note()
        receipt = self._receipt(row, job)
        async with self._accounts.db.transaction() as tx:
            await user_erasures.end(tx, row.erasure_id, orjson.dumps(receipt).decode())
            by = Operator(user_id=UserId(job.started_by), role=Role.OWNER)
            counts = {"events": done.get("events", 0), "media": done.get("media", 0)}
            await self._accounts.audit.record(tx, entry_of(by, "user.erased", user_id, after=counts))

    async def _events(self, job: Job, user_id: UserId) -> None:
        done, last = job.progress, await user_erasures.last_event(self._accounts.db)
        done.setdefault("events", 0)
        while True:
            after = int(done.get("after", 0))
            found, upto, lost = await user_erasures.said(self._accounts.db, user_id, after, _ROWS_AT_ONCE)
            if upto is None:
                return
            done["unreadable"] = done.get("unreadable", 0) + lost
            for start in range(0, len(found), _ERASED_AT_ONCE):
                await self._some(found[start : start + _ERASED_AT_ONCE], job, user_id)
            done.update(after=upto, of=max(last, upto))
            await job.note()

    async def _some(self, found: Sequence[Said], job: Job, user_id: UserId) -> None:
        done, room_names = job.progress, bool(job.arguments.get("room_names"))
        left: dict[int, bytes] = {}
        rooms: dict[RoomId, list[int]] = {}
        states: dict[RoomId, set[str]] = {}
        for one in found:
            if one.type not in (None, "m.room.member") and await self._runs_on(one, user_id, room_names):
                done["events_kept"] = done.get("events_kept", 0) + 1
                continue
            redacted = canonical_json.encode(redact(ROOM_VERSIONS[one.version], canonical_json.decode(one.json)))
            if redacted != one.json:
                left[one.event_nid] = redacted
                rooms.setdefault(one.room_id, []).append(one.event_nid)
                if one.type is not None:
                    states.setdefault(one.room_id, set()).add(one.type)
        if not left:
            return
        async with self._tools.journal.write() as write:
            await user_erasures.erase(write.tx, left)
            for room_id, types in states.items():
                await user_erasures.empty_overview(write.tx, room_id, types)
            for room_id, nids in rooms.items():
                write.publish("redacted", room_id=room_id, payload=tuple(nids))
        self._tools.events.redacted(list(left))
        for room_id in states:
            await self._reload(room_id)
        done["events"] += len(left)

    async def _reload(self, room_id: RoomId) -> None:
        """What is in memory of the room is read anew: its state says less."""

        async def drop() -> None:
            self._tools.rooms.drop(room_id)

        await self._tools.writer.exclusively(room_id, drop)

    async def _runs_on(self, one: Said, user_id: UserId, room_names: bool) -> bool:
        """Whether a room that others are in needs this state, or is called by it."""
        if one.type in RUNNING:
            return True
        room = await self._tools.rooms.get(one.room_id)
        if room_names or room is None or not any(other != user_id for other in room.joined_members()):
            return False
        return one.event_nid in (await self._tools.rooms.state_map(room)).values()

    async def _stripped(self, user_id: UserId, done: dict[str, Any]) -> None:
        """Invites came with what their rooms were called and who invites: the user goes out of it."""
        rows = await user_erasures.stripped_naming(self._accounts.db, user_id)
        without = [(nid, _without(events, user_id)) for nid, events in rows]
        if without:
            async with self._accounts.db.transaction() as tx:
                await user_erasures.put_stripped(tx, without)
        done["invites"] = done.get("invites", 0) + len(without)

    async def _media(self, job: Job, user_id: UserId) -> None:
        done = job.progress
        while found := await user_erasures.media_of(self._accounts.db, user_id, _MEDIA_AT_ONCE):
            await self._tools.media.delete(list(found))
            done["media"] = done.get("media", 0) + len(found)
            done["media_bytes"] = done.get("media_bytes", 0) + sum(found.values())
            await job.note()

    def _receipt(self, row: ErasureRow, job: Job) -> dict[str, Any]:
        done = job.progress
        receipt = {
            "type": "hansa.erasure",
            "version": 1,
            "erasure_id": row.erasure_id,
            "server_name": self._tools.signer.server_name,
            "user_id": row.user_id,
            "asked_by": row.asked_by,
            "asked_ts": row.asked_ts,
            "begun_ts": done["begun_ts"],
            "done_ts": self._accounts.clock.now_ms(),
            "counts": {
                "events": done.get("events", 0),
                "events_kept": done.get("events_kept", 0),
                "invites": done.get("invites", 0),
                "media": done.get("media", 0),
                "media_bytes": done.get("media_bytes", 0),
                "rows": done.get("rows", {}),
                "places": done.get("keepers", {}),
            },
            "user_id_sha256": hashlib.sha256(row.user_id.encode()).hexdigest(),
            "stays": dict(personal.STAYS),
        }
        return self._tools.signer.sign_json(receipt)

    def _is_local(self, user_id: UserId) -> bool:
        return domain_of(user_id) == self._accounts.users.server_name


def _without(events: bytes, user_id: UserId) -> bytes:
    kept = [
        event
        for event in orjson.loads(events)
        if isinstance(event, dict) and user_id not in (event.get("sender"), event.get("state_key"))
    ]
    return orjson.dumps(kept)
