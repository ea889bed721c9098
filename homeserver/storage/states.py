"""The table `states`: each state of a room as a delta against an earlier one.

State number i of a line refers to the one whose number is i with its lowest set bit cleared. So any state is read in at
most log2(n) steps, and n states take n log n small pairs. (The skip deltas of Subversion's file system.)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from immutables import Map

from homeserver.storage.database import Reader, Tx

UNSET = 0
_PAIR = np.dtype([("key", "<u4"), ("event", "<u8")])
_SMALL = 48  # below, a dictionary is faster than arrays

StateMap = Map[int, int]
"""key nid → event nid."""


@dataclass(frozen=True, slots=True)
class StateRow:
    nid: int
    index: int
    base: int | None
    delta: bytes


@dataclass(frozen=True, slots=True)
class Line:
    """A state's way to its full form: itself, its base, its base's base… down to the first. Newest first."""

    rows: tuple[StateRow, ...]

    @property
    def nid(self) -> int:
        return self.rows[0].nid

    def next(self, nid: int, changes: Mapping[int, int]) -> Line:
        """The line of the state after these changes. Amortised cost: log2(n) pairs a change."""
        index = self.rows[0].index + 1
        base_index = index & (index - 1)
        merged: list[bytes] = []
        kept = 0
        for row in self.rows:
            if row.index <= base_index:
                break
            merged.append(row.delta)
            kept += 1
        merged.reverse()
        merged.append(pack(changes))
        delta = merged[0] if len(merged) == 1 else merge(merged)
        base = self.rows[kept]
        return Line((StateRow(nid, index, base.nid, delta), *self.rows[kept:]))

    def state(self) -> StateMap:
        """The full map."""
        return unpack([row.delta for row in reversed(self.rows)])


def first_line(nid: int, changes: Mapping[int, int]) -> Line:
    """The line of a room's first state."""
    return Line((StateRow(nid, 0, None, pack(changes)),))


def pack(changes: Mapping[int, int]) -> bytes:
    if len(changes) == 1:
        ((key, event),) = changes.items()
        return key.to_bytes(4, "little") + event.to_bytes(8, "little")
    pairs = np.empty(len(changes), _PAIR)
    pairs["key"] = np.fromiter(changes.keys(), np.uint32, len(changes))
    pairs["event"] = np.fromiter(changes.values(), np.uint64, len(changes))
    return pairs.tobytes()


def merge(deltas: Sequence[bytes]) -> bytes:
    """One delta that does what these do, oldest first."""
    data = b"".join(deltas)
    if len(data) <= _SMALL * _PAIR.itemsize:
        found = {data[at : at + 4]: data[at + 4 : at + 12] for at in range(0, len(data), 12)}
        return b"".join([key + event for key, event in found.items()])
    pairs = np.frombuffer(data, _PAIR)
    # `unique` gives the first of equals, so it is asked from the newest on.
    _, newest = np.unique(pairs["key"][::-1], return_index=True)
    return pairs[::-1][newest].tobytes()


def keys_in(deltas: Sequence[bytes]) -> set[int]:
    """The key numbers that these deltas name."""
    return set(np.unique(np.frombuffer(b"".join(deltas), _PAIR)["key"]).tolist())


def applied(state: StateMap, changes: Mapping[int, int]) -> StateMap:
    """The map after these changes, of which those to UNSET remove."""
    gone = [key for key, nid in changes.items() if nid == UNSET and key in state]
    if not gone and UNSET not in changes.values():
        return state.update(changes)
    mutation = state.mutate()
    for key, nid in changes.items():
        if nid != UNSET:
            mutation[key] = nid
    for key in gone:
        del mutation[key]
    return mutation.finish()


def unpack(deltas: Sequence[bytes]) -> StateMap:
    """The map that these deltas, oldest first, make of an empty one."""
    pairs = np.frombuffer(merge(deltas), _PAIR)
    set_pairs = pairs[pairs["event"] != UNSET]
    return Map(dict(zip(set_pairs["key"].tolist(), set_pairs["event"].tolist(), strict=True)))


_INSERT = """
    INSERT INTO states (state_nid, index, base, delta)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bytea[])
"""

_REPLACE = f"""
    {_INSERT}
    ON CONFLICT (state_nid) DO UPDATE SET index = excluded.index, base = excluded.base, delta = excluded.delta
"""

_LINES = """
    WITH RECURSIVE line AS (
        SELECT state_nid AS wanted, state_nid, index, base, delta FROM states WHERE state_nid = ANY($1::bigint[])
        UNION ALL
        SELECT line.wanted, s.state_nid, s.index, s.base, s.delta FROM states s JOIN line ON s.state_nid = line.base
    )
    SELECT wanted, state_nid, index, base, delta FROM line ORDER BY wanted, index DESC
"""


async def insert(tx: Tx, rows: Sequence[StateRow]) -> None:
    await tx.execute(_INSERT, *_columns(rows))


async def replace(tx: Tx, rows: Sequence[StateRow]) -> None:
    """Writes states that are made anew: those before of the same numbers are gone. Each number once."""
    await tx.execute(_REPLACE, *_columns(rows))


def _columns(rows: Sequence[StateRow]) -> list[list[object]]:
    return [
        [row.nid for row in rows],
        [row.index for row in rows],
        [row.base for row in rows],
        [row.delta for row in rows],
    ]


async def lines(db: Reader, state_nids: Collection[int]) -> dict[int, Line]:
    """The lines of these states. log2(n) index look-ups each."""
    found: dict[int, list[StateRow]] = {}
    for row in await db.fetch(_LINES, list(state_nids)):
        found.setdefault(row["wanted"], []).append(StateRow(row["state_nid"], row["index"], row["base"], row["delta"]))
    return {nid: Line(tuple(rows)) for nid, rows in found.items()}
