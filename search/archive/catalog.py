"""The tables of the archive: which files count, what of them is hidden, what is to be deleted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pyroaring import BitMap64

from homeserver.storage.database import Reader, Row, Tx
from search.archive.files import Built, Made

PARQUET, TERMS = ".parquet", ".terms"


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """One month and bucket. `hidden` has the numbers of its events that are shown no more.

    `bodies`: of how many events, at most, the database has no body any more; `bodies_moved`: all left it that may.
    """

    month: str
    bucket: int
    name: str
    is_cold: bool
    upto: int
    made_ms: int
    rule: str
    built: Built
    hidden: BitMap64
    hidden_since_ms: int | None = None
    damage: str | None = None
    bodies: int = 0
    bodies_moved: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.month, self.bucket

    @property
    def bytes(self) -> int:
        return self.built.parquet.size_bytes + self.built.terms.size_bytes

    def may_have(self, event_nid: int) -> bool:
        return self.built.first_nid <= event_nid <= self.built.last_nid


@dataclass(frozen=True, slots=True)
class Month:
    """A month that has files. `manifest` is the digest of what the store has, None if it has to be written.

    `stays_hot`: it was restored, and no policy moves it again.
    """

    month: str
    buckets: int
    manifest: str | None
    stays_hot: bool


_MONTHS = "SELECT month, buckets, manifest, stays_hot FROM archive_months ORDER BY month"
_FILES = "SELECT * FROM archive_files ORDER BY month, bucket"
_SET_MONTH = """
    INSERT INTO archive_months (month, buckets) VALUES ($1, $2)
    ON CONFLICT (month) DO UPDATE SET stays_hot = false, buckets = CASE
        WHEN EXISTS (SELECT FROM archive_files f WHERE f.month = $1) THEN archive_months.buckets ELSE excluded.buckets
    END
    RETURNING buckets
"""
_RESTORED = "UPDATE archive_months SET stays_hot = true, manifest = NULL WHERE month = $1"
_DROP_FILES = "DELETE FROM archive_files WHERE month = $1"
_DROP_FILE = "DELETE FROM archive_files WHERE month = $1 AND bucket = $2"
_PUT = """
    INSERT INTO archive_files (
        month, bucket, name, is_cold, rows, first_nid, last_nid, upto, made_ms, rule, digest,
        parquet_bytes, parquet_digest, footer_start, footer_crc, terms_bytes, terms_digest, head_start, head_end,
        head_crc, hidden, hidden_since_ms, damage, bodies, bodies_moved
    ) VALUES (
        $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, NULL,
        $23, $24
    )
    ON CONFLICT (month, bucket) DO UPDATE SET
        name = excluded.name, is_cold = excluded.is_cold, rows = excluded.rows, first_nid = excluded.first_nid,
        last_nid = excluded.last_nid, upto = excluded.upto, made_ms = excluded.made_ms, rule = excluded.rule,
        digest = excluded.digest, parquet_bytes = excluded.parquet_bytes, parquet_digest = excluded.parquet_digest,
        footer_start = excluded.footer_start, footer_crc = excluded.footer_crc, terms_bytes = excluded.terms_bytes,
        terms_digest = excluded.terms_digest, head_start = excluded.head_start, head_end = excluded.head_end,
        head_crc = excluded.head_crc, hidden = excluded.hidden, hidden_since_ms = excluded.hidden_since_ms,
        damage = NULL, bodies = excluded.bodies, bodies_moved = excluded.bodies_moved
"""
_ADD_BODIES = "UPDATE archive_files SET bodies = bodies + $2 WHERE name = $1"
_SET_BODIES_MOVED = "UPDATE archive_files SET bodies_moved = true WHERE name = $1"
_SET_COLD = "UPDATE archive_files SET is_cold = true WHERE name = $1"
_HIDE = "UPDATE archive_files SET hidden = $2, hidden_since_ms = coalesce(hidden_since_ms, $3) WHERE name = $1"
_SET_DAMAGE = "UPDATE archive_files SET damage = $2 WHERE name = $1"
_SET_MANIFEST = "UPDATE archive_months SET manifest = $2 WHERE month = $1"
_LEAVE = """
    INSERT INTO archive_leftovers (name, due_ms) SELECT unnest($1::text[]), $2
    ON CONFLICT (name) DO UPDATE SET due_ms = excluded.due_ms
"""
_KEEP = "DELETE FROM archive_leftovers WHERE name = ANY($1::text[])"
_LEFTOVERS = "SELECT name FROM archive_leftovers WHERE due_ms <= $1 ORDER BY due_ms LIMIT $2"
_ROOMS = "SELECT room_nid, after_days FROM archive_rooms"
_SET_ROOM = """
    INSERT INTO archive_rooms (room_nid, after_days) VALUES ($1, $2)
    ON CONFLICT (room_nid) DO UPDATE SET after_days = excluded.after_days
"""
_UNSET_ROOM = "DELETE FROM archive_rooms WHERE room_nid = $1"


async def months(db: Reader) -> dict[str, Month]:
    """All that have files."""
    return {row["month"]: Month(**row) for row in await db.fetch(_MONTHS)}


async def files(db: Reader) -> list[File]:
    """All that count."""
    return [_file(row) for row in await db.fetch(_FILES)]


async def set_month(tx: Tx, month: str, buckets: int) -> int:
    """Into how many buckets its rooms go: as many as they did, if it has files."""
    return int(await tx.fetchval(_SET_MONTH, month, buckets))


async def restored(tx: Tx, month: str) -> None:
    """Its files count no more, and no policy makes new ones."""
    await tx.execute(_DROP_FILES, month)
    await tx.execute(_RESTORED, month)


async def drop_file(tx: Tx, file: File) -> None:
    await tx.execute(_DROP_FILE, file.month, file.bucket)
    await tx.execute(_SET_MANIFEST, file.month, None)


async def put(tx: Tx, file: File) -> None:
    """From the commit on it is this file that counts for its month and bucket; its manifest has to be written."""
    built, parquet, terms = file.built, file.built.parquet, file.built.terms
    await tx.execute(
        _PUT,
        *(file.month, file.bucket, file.name, file.is_cold),
        *(built.rows, built.first_nid, built.last_nid, file.upto, file.made_ms, file.rule, built.digest),
        *(parquet.size_bytes, parquet.digest, parquet.index_start, parquet.index_crc),
        *(terms.size_bytes, terms.digest, terms.index_start, terms.index_end, terms.index_crc),
        *(packed(file.hidden), file.hidden_since_ms, file.bodies, file.bodies_moved),
    )
    await tx.execute(_SET_MANIFEST, file.month, None)
    await keep(tx, [file.name + PARQUET, file.name + TERMS])


async def set_cold(tx: Tx, name: str) -> None:
    """The hot index has nothing of it any more."""
    await tx.execute(_SET_COLD, name)


async def hide(tx: Tx, hidden: Mapping[str, BitMap64], now_ms: int) -> None:
    """What is shown no more of files, by their names; all of it each time."""
    for name, nids in hidden.items():
        await tx.execute(_HIDE, name, packed(nids), now_ms)


async def set_damage(tx: Tx, name: str, damage: str | None) -> None:
    await tx.execute(_SET_DAMAGE, name, damage)


async def add_bodies(tx: Tx, name: str, count: int) -> None:
    """So many more events have their bodies in this file alone."""
    await tx.execute(_ADD_BODIES, name, count)


async def set_bodies_moved(tx: Tx, name: str) -> None:
    """All bodies of it have left the database that may."""
    await tx.execute(_SET_BODIES_MOVED, name)


async def set_manifest(tx: Tx, month: str, digest: str | None) -> None:
    await tx.execute(_SET_MANIFEST, month, digest)


async def leave(tx: Tx, names: Sequence[str], due_ms: int) -> None:
    """These objects are deleted at a time, unless they come to count before."""
    await tx.execute(_LEAVE, list(names), due_ms)


async def keep(tx: Tx, names: Sequence[str]) -> None:
    await tx.execute(_KEEP, list(names))


async def leftovers(db: Reader, now_ms: int, limit: int) -> list[str]:
    """Objects that are to be deleted by now."""
    return [row["name"] for row in await db.fetch(_LEFTOVERS, now_ms, limit)]


async def room_ages(db: Reader) -> dict[int, int | None]:
    """Rooms with an age of their own, in days; None: never."""
    return {row["room_nid"]: row["after_days"] for row in await db.fetch(_ROOMS)}


async def set_room_age(tx: Tx, room_nid: int, after_days: int | None) -> None:
    await tx.execute(_SET_ROOM, room_nid, after_days)


async def unset_room_age(tx: Tx, room_nid: int) -> None:
    await tx.execute(_UNSET_ROOM, room_nid)


def packed(nids: BitMap64) -> bytes:
    """As it is kept."""
    return nids.serialize() if nids else b""


def _file(row: Row) -> File:
    parquet_bytes, head_end = row["parquet_bytes"], row["head_end"]
    return File(
        month=row["month"],
        bucket=row["bucket"],
        name=row["name"],
        is_cold=row["is_cold"],
        upto=row["upto"],
        made_ms=row["made_ms"],
        rule=row["rule"],
        built=Built(
            rows=row["rows"],
            first_nid=row["first_nid"],
            last_nid=row["last_nid"],
            digest=row["digest"],
            parquet=Made(
                size_bytes=parquet_bytes,
                digest=row["parquet_digest"],
                index_start=row["footer_start"],
                index_end=parquet_bytes,
                index_crc=row["footer_crc"],
            ),
            terms=Made(
                size_bytes=row["terms_bytes"],
                digest=row["terms_digest"],
                index_start=row["head_start"],
                index_end=head_end,
                index_crc=row["head_crc"],
            ),
        ),
        hidden=BitMap64.deserialize(row["hidden"]) if row["hidden"] else BitMap64(),
        hidden_since_ms=row["hidden_since_ms"],
        damage=row["damage"],
        bodies=row["bodies"],
        bodies_moved=row["bodies_moved"],
    )
