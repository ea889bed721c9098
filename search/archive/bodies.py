"""Bodies of events that are in the archive alone: the database's rows stay, with nothing in `json`.

They leave it only for a file that was read again and is whole, each compared byte by byte, in the transaction that
notes it; and whatever makes a file count no more puts back what the next one doesn't have.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pyroaring import BitMap64

from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError, Unavailable
from homeserver.core.events import event_id_of, is_content_intact
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.runtime.progress import Progress
from homeserver.storage.bodies import put_back
from search.archive import catalog
from search.archive.catalog import PARQUET, File
from search.archive.shelf import Shelf, month_span, read_part
from search.archive.terms import Damaged
from search.tiers import TierFault

if TYPE_CHECKING:
    import pyarrow as pa

    from search.archive.reading import ArchiveFile

# Row groups' bodies in memory.
CACHE_BYTES_MAX = 64 * 1024 * 1024
STEP = 1_000

_COLUMNS = """
    e.event_nid, e.room_nid, e.event_id, r.version, coalesce(e.received_ms, e.origin_server_ts) AS received_ms
"""
_WHERE = f"""
    SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_nid) WHERE e.event_id = ANY($1::text[]) AND e.json = ''
"""
_MOVED = f"""
    SELECT {_COLUMNS} FROM events e JOIN rooms r USING (room_nid)
    WHERE coalesce(e.received_ms, e.origin_server_ts) >= $1 AND coalesce(e.received_ms, e.origin_server_ts) < $2
        AND e.room_nid % $3 = $4 AND e.json = ''
"""
# State stays, and where a room goes on: writing needs it. So does what was reported: it is evidence.
_MOVE = """
    WITH moved AS (
        UPDATE events e SET json = '' FROM unnest($1::bigint[], $2::bytea[]) AS archived(nid, json), rooms r
        WHERE e.event_nid = archived.nid AND e.json = archived.json AND r.room_nid = e.room_nid
            AND e.key_nid IS NULL AND e.redacted_by IS NULL AND e.flags = 0
            AND NOT e.event_nid = ANY(coalesce(r.forward_extremities, '{}'))
            AND e.ordering < (
                SELECT max(newest.ordering) FROM events newest
                WHERE newest.room_nid = e.room_nid AND newest.ordering IS NOT NULL
            )
            AND NOT EXISTS (SELECT FROM reports p WHERE p.kind = 'event' AND p.target = e.event_id)
        RETURNING e.event_nid
    )
    SELECT count(*) FROM moved
"""


class NotHere(Exception):
    """Bodies that only this file has can't be read: it must not be replaced."""


class Moved(NamedTuple):
    """An event without its body, and what tells where that is."""

    event_nid: int
    room_nid: int
    event_id: EventId
    version: str
    received_ms: int


class ArchivedBodies:
    """Implements storage.database.Elsewhere: bodies as the archive has them, each checked against its event's id."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._groups: OrderedDict[tuple[str, int], _Group] = OrderedDict()
        self._bytes = 0
        self._cache_lock = threading.Lock()

    async def bodies(self, event_ids: Collection[EventId]) -> Mapping[EventId, bytes]:
        """Those that can be read; a file that is damaged is found out. Raises Unavailable where the store is away."""
        by_file: defaultdict[tuple[str, int], list[Moved]] = defaultdict(list)
        for row in await self.shelf.db.fetch(_WHERE, list(event_ids)):
            one = Moved(*row.values())
            key = self.shelf.key_of(one.received_ms, one.room_nid)
            if key is not None:
                by_file[key].append(one)
        files = [(file, some) for key, some in by_file.items() if (file := self.shelf.file(key)) is not None]
        found: dict[EventId, bytes] = {}
        for some in await asyncio.gather(*(self._of_file(*one) for one in files)):
            found.update(some)
        return found

    async def move_out(self, file: File, progress: Progress) -> int:
        """Takes the bodies out of the database that a whole file has; of how many events. Raises TierFault, Damaged."""
        count = 0
        groups, _ = await self.shelf.reading(file, lambda one: one.groups)
        for group in range(groups):
            nids, jsons = await self._whole_group(file, group)
            for at in range(0, len(nids), STEP):
                async with self.shelf.db.transaction() as tx:
                    moved = int(await tx.fetchval(_MOVE, nids[at : at + STEP], jsons[at : at + STEP]))
                    await catalog.add_bodies(tx, file.name, moved)
                self.shelf.put_bodies(file, moved)
                count += moved
            progress(f"{file.month}: bodies leave the database", group + 1, groups)
        async with self.shelf.db.transaction() as tx:
            await catalog.set_bodies_moved(tx, file.name)
        self.shelf.put_bodies(file, 0, is_done=True)
        return count

    async def bring_back(self, file: File, without: BitMap64 | None = None) -> int:
        """Puts the bodies back that only this file has, but for those of some events; how many.

        Raises NotHere where one can't be read, TierFault, Unavailable.
        """
        span, buckets = month_span(file.month), self.shelf.buckets(file.month) or 1
        async with self.shelf.db.unhurried() as tx:
            rows = await tx.fetch(_MOVED, *span, buckets, file.bucket)
        wanted = [one for row in rows if (one := Moved(*row.values())).event_nid not in (without or ())]
        for at in range(0, len(wanted), STEP):
            some = wanted[at : at + STEP]
            found = await self._of_file(file, some)
            if len(found) < len(some):
                found = {**found, **await self._from_whole(file, [one for one in some if one.event_id not in found])}
            if len(found) < len(some):
                raise NotHere(f"{file.name}: what {len(some) - len(found)} events said can't be read")
            async with self.shelf.db.transaction() as tx:
                await put_back(tx, found)
        return len(wanted)

    async def _of_file(self, file: File, wanted: Sequence[Moved]) -> dict[EventId, bytes]:
        try:
            (found, damage), _ = await self.shelf.reading(file, lambda one: self._read(file.name, one, wanted))
        except Damaged as all_of_it:
            found, damage = {}, all_of_it
        except TierFault as fault:
            raise Unavailable("the archive that has these events can't be read now") from fault
        if damage is not None:
            await self.shelf.damaged(file, str(damage))
        return found

    async def _whole_group(self, file: File, group: int) -> tuple[list[int], list[bytes]]:
        (nids, jsons), _ = await self.shelf.reading(file, lambda one: _columns(one, group))
        return nids, jsons

    async def _from_whole(self, file: File, wanted: Sequence[Moved]) -> dict[EventId, bytes]:
        """The same where only the index of words is damaged: the file is read from its first byte to its last."""
        try:
            data = await read_part(self.shelf.store, file.name + PARQUET, 0, file.built.parquet.size_bytes)
            return await asyncio.to_thread(_from_bytes, data, file.built.parquet.digest, wanted)
        except Damaged:
            return {}

    def _read(
        self, name: str, file: ArchiveFile, wanted: Sequence[Moved]
    ) -> tuple[dict[EventId, bytes], Damaged | None]:
        """In a thread. A row group that is damaged leaves the others' events."""
        found, damage = dict[EventId, bytes](), None
        spans = {room.room_nid: (room.first_row, room.first_row + room.count) for room in file.rooms}
        for group in range(file.groups):
            begin, end = file.span(group)
            some = [one for one in wanted if (span := spans.get(one.room_nid)) and span[0] < end and begin < span[1]]
            if some and any(one.event_id not in found for one in some):
                try:
                    found.update(self._group(name, file, group).find(some))
                except Damaged as error:
                    damage = error
        return found, damage

    def _group(self, name: str, file: ArchiveFile, group: int) -> _Group:
        with self._cache_lock:
            known = self._groups.get((name, group))
            if known is not None:
                self._groups.move_to_end((name, group))
                return known
        made = _Group(file.table(group, ("event_nid", "json")))
        with self._cache_lock:
            if (name, group) not in self._groups:
                self._groups[name, group] = made
                self._bytes += made.size_bytes
                while self._bytes > CACHE_BYTES_MAX and len(self._groups) > 1:
                    self._bytes -= self._groups.popitem(last=False)[1].size_bytes
        return made


class _Group:
    """The bodies of a row group."""

    def __init__(self, table: pa.Table) -> None:
        nids = table.column("event_nid").to_pylist()
        self._rows = {nid: row for row, nid in enumerate(nids)}
        self._jsons = table.column("json").combine_chunks()
        self.size_bytes = int(self._jsons.nbytes) + 150 * len(nids)

    def find(self, wanted: Sequence[Moved]) -> dict[EventId, bytes]:
        """Those that are in it. Raises Damaged where one isn't what its id says."""
        found = {}
        for one in wanted:
            row = self._rows.get(one.event_nid)
            if row is not None:
                found[one.event_id] = _checked(one, self._jsons[row].as_py())
        return found


def _checked(one: Moved, json: bytes) -> bytes:
    version = ROOM_VERSIONS[one.version]
    try:
        pdu = canonical_json.decode(json)
        # The id is over the redacted form: what was said is in the content's hash.
        is_right = event_id_of(version, pdu) == one.event_id and is_content_intact(version, pdu)
    except (MatrixError, LookupError, TypeError, ValueError):
        is_right = False
    if not is_right:
        raise Damaged("an event isn't what its id says")
    return json


def _columns(file: ArchiveFile, group: int) -> tuple[list[int], list[bytes]]:
    table = file.table(group, ("event_nid", "json"))
    return table.column("event_nid").to_pylist(), table.column("json").to_pylist()


def _from_bytes(data: bytes, digest: str, wanted: Sequence[Moved]) -> dict[EventId, bytes]:
    """Raises Damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if hashlib.sha256(data).hexdigest() != digest:
        raise Damaged("the file isn't what was written")
    found: dict[EventId, bytes] = {}
    with pq.ParquetFile(pa.BufferReader(data)) as file:
        for group in range(file.num_row_groups):
            found.update(_Group(file.read_row_group(group, columns=["event_nid", "json"])).find(wanted))
    return found
