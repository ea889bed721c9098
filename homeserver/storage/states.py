"""The table `states`: each state of a room as a delta against an earlier one.

State number i of a line refers to the one whose number is i with its lowest set bit cleared. So any state is read in at
most log2(n) steps, and n states take n log n small pairs. (The skip deltas of Subversion's file system.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
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


def near(line: Line, other: Line, state: StateMap) -> StateMap:
    """The full map of a line, given that of another of the same room.

    Cost: that of what the two don't have in common, not of the state's size; so is what it takes beside the other map.
    """
    common = {row.nid for row in line.rows} & {row.nid for row in other.rows}
    if not common:
        return line.state()
    own = [row.delta for row in reversed(line.rows) if row.nid not in common]
    changes = _pairs(own)
    left = keys_in([row.delta for row in other.rows if row.nid not in common]).difference(changes)
    for row in line.rows:
        if not left:
            break
        if row.nid in common:
            found = _found(row.delta, left)
            changes.update(found)
            left.difference_update(found)
    changes.update(dict.fromkeys(left, UNSET))
    return applied(state, {key: nid for key, nid in changes.items() if state.get(key, UNSET) != nid})


def own_bytes(line: Line, other: Line) -> int:
    """How much of two lines they don't have in common."""
    common = {row.nid for row in line.rows} & {row.nid for row in other.rows}
    return sum(len(row.delta) for row in (*line.rows, *other.rows) if row.nid not in common)


def _pairs(deltas: Sequence[bytes]) -> dict[int, int]:
    """What these deltas, oldest first, set and unset."""
    pairs = np.frombuffer(b"".join(deltas), _PAIR)
    return dict(zip(pairs["key"].tolist(), pairs["event"].tolist(), strict=True))


def _found(delta: bytes, keys: Collection[int]) -> dict[int, int]:
    pairs = np.frombuffer(delta, _PAIR)
    hits = pairs[np.isin(pairs["key"], np.fromiter(keys, np.uint32, len(keys)))]
    return dict(zip(hits["key"].tolist(), hits["event"].tolist(), strict=True))


class View:
    """A state as what it has of its own over one that it shares with others. `own` has UNSET for what it lacks."""

    __slots__ = ("_shared", "own")

    def __init__(self, own: Mapping[int, int], shared: StateMap) -> None:
        self.own = own
        self._shared = shared

    def get(self, key: int) -> int:
        """The event under this key, or UNSET."""
        nid = self.own.get(key)
        return self._shared.get(key, UNSET) if nid is None else nid


def views(lines: Sequence[Line], other: Line, state: StateMap) -> list[View]:
    """These states, given the full map of another of the same room. Cost: what they don't have in common."""
    counts = Counter(row.nid for line in lines for row in line.rows)
    own = [_pairs([row.delta for row in reversed(line.rows) if counts[row.nid] < len(lines)]) for line in lines]
    rows = tuple(row for row in lines[0].rows if counts[row.nid] == len(lines))
    shared: StateMap = near(Line(rows), other, state) if rows else Map()
    return [View(pairs, shared) for pairs in own]


def values_of(states: Sequence[View]) -> dict[int, set[int]]:
    """By key what these states have under it (UNSET too), where it isn't the same in all."""
    found: dict[int, set[int]] = {}
    named: Counter[int] = Counter()
    for state in states:
        named.update(state.own.keys())
        for key, nid in state.own.items():
            found.setdefault(key, set()).add(nid)
    for key, count in named.items():
        if count < len(states):
            found[key].add(next(state for state in states if key not in state.own).get(key))
    return {key: nids for key, nids in found.items() if len(nids) > 1}


def differing_keys(lines: Sequence[Line]) -> set[int]:
    """The key numbers under which these states may differ: all others come from what their lines have in common."""
    counts = Counter(row.nid for line in lines for row in line.rows)
    return keys_in([row.delta for line in lines for row in line.rows if counts[row.nid] < len(lines)])


INSERT = """
    INSERT INTO states (state_nid, index, base, delta)
    SELECT * FROM unnest($1::bigint[], $2::integer[], $3::bigint[], $4::bytea[])
"""

_REPLACE = f"""
    {INSERT}
    ON CONFLICT (state_nid) DO UPDATE SET index = excluded.index, base = excluded.base, delta = excluded.delta
"""

# Each row once, however many lines go through it: the first of a line may be as large as the room.
_LINES = """
    WITH RECURSIVE line(state_nid) AS (
        SELECT * FROM unnest($1::bigint[])
        UNION
        SELECT s.base FROM states s JOIN line USING (state_nid) WHERE s.base IS NOT NULL AND s.base <> ALL($2::bigint[])
    )
    SELECT state_nid, index, base, delta FROM states JOIN line USING (state_nid)
"""


async def insert(tx: Tx, rows: Sequence[StateRow]) -> None:
    await tx.execute(INSERT, *insert_arguments(rows))


async def replace(tx: Tx, rows: Sequence[StateRow]) -> None:
    """Writes states that are made anew: those before of the same numbers are gone. Each number once."""
    await tx.execute(_REPLACE, *insert_arguments(rows))


def insert_arguments(rows: Sequence[StateRow]) -> list[list[object]]:
    """The arguments of INSERT: a list for each column."""
    return [
        [row.nid for row in rows],
        [row.index for row in rows],
        [row.base for row in rows],
        [row.delta for row in rows],
    ]


async def lines(db: Reader, state_nids: Collection[int], near_to: Iterable[Line] = ()) -> dict[int, Line]:
    """The lines of these states. log2(n) index look-ups each; what `near_to` has isn't read again."""
    rows = {row.nid: row for line in near_to for row in line.rows}
    for row in await db.fetch(_LINES, list(state_nids), list(rows)):
        nid = row["state_nid"]
        rows.setdefault(nid, StateRow(nid, row["index"], row["base"], row["delta"]))
    return {nid: Line(_way(rows, nid)) for nid in state_nids if nid in rows}


def _way(rows: Mapping[int, StateRow], nid: int) -> tuple[StateRow, ...]:
    way, at = list[StateRow](), rows.get(nid)
    while at is not None:
        way.append(at)
        at = rows.get(at.base) if at.base is not None else None
    return tuple(way)
