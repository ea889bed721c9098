"""The table `state_keys`: small numbers for (type, state_key) pairs."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from homeserver.core.events import StateKey
from homeserver.storage.database import Reader, Tx

BLOCK = 1_000

_NEXT_BLOCK = "SELECT nextval('state_key_blocks')"
_BY_KEYS = """
    SELECT k.key_nid, k.type, k.state_key FROM unnest($1::text[], $2::text[]) AS wanted(type, state_key)
    JOIN state_keys k USING (type, state_key)
"""
_BY_NIDS = "SELECT key_nid, type, state_key FROM state_keys WHERE key_nid = ANY($1::integer[])"
INSERT = """
    INSERT INTO state_keys (key_nid, type, state_key) SELECT * FROM unnest($1::integer[], $2::text[], $3::text[])
    ON CONFLICT DO NOTHING
"""


async def next_block(db: Reader) -> range:
    """Numbers that nobody else will give to a key."""
    block = await db.fetchval(_NEXT_BLOCK)
    return range(block * BLOCK, (block + 1) * BLOCK)


async def by_keys(db: Reader, keys: Collection[StateKey]) -> dict[StateKey, int]:
    rows = await db.fetch(_BY_KEYS, [key[0] for key in keys], [key[1] for key in keys])
    return {(row["type"], row["state_key"]): row["key_nid"] for row in rows}


async def by_nids(db: Reader, nids: Collection[int]) -> dict[int, StateKey]:
    return {row["key_nid"]: (row["type"], row["state_key"]) for row in await db.fetch(_BY_NIDS, list(nids))}


async def insert(tx: Tx, keys: Mapping[StateKey, int]) -> None:
    await tx.execute(INSERT, *insert_arguments(keys))


def insert_arguments(keys: Mapping[StateKey, int]) -> list[list[object]]:
    """The arguments of INSERT: a list for each column."""
    return [list(keys.values()), [key[0] for key in keys], [key[1] for key in keys]]
