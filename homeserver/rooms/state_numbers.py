"""Numbers for (type, state_key) pairs: looked up once, then remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator

from homeserver.core.events import StateKey
from homeserver.storage import state_keys
from homeserver.storage.database import Database

REMEMBERED_MAX = 500_000
ABSENT_MAX = 100_000


class StateNumbers:
    """Both directions of the table `state_keys`, with a bounded memory.

    A number given to a new key stays *unsaved* until the transaction that first uses it has written it.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._by_key: OrderedDict[StateKey, int] = OrderedDict()
        self._by_nid: dict[int, StateKey] = {}
        # Keys that nobody has set anywhere.
        self._absent: set[StateKey] = set()
        self._unsaved: dict[StateKey, int] = {}
        self._free: Iterator[int] = iter(())

    async def find(self, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The numbers of those keys that have one. At most one query."""
        found = {key: nid for key in keys if (nid := self._by_key.get(key)) is not None}
        # No key of an event that was taken holds a NUL, which the database could not even be asked for.
        possible = [key for key in keys if "\x00" not in key[0] and "\x00" not in key[1]]
        missing = [key for key in possible if key not in found and key not in self._absent]
        if missing:
            for key, nid in (await state_keys.by_keys(self._db, missing)).items():
                self._remember(key, nid)
                found[key] = nid
            # A key that got its number while this was read is remembered by now.
            self._absent.update(key for key in missing if key not in self._by_key)
            if len(self._absent) > ABSENT_MAX:
                self._absent.clear()
        return found

    async def give(self, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """The numbers of these keys; new ones for those that have none."""
        found = await self.find(keys)
        for key in keys:
            if key in found:
                continue
            self._absent.discard(key)
            nid = self._unsaved.get(key) or await self._next()
            # Another task may have given one while this one waited for a block.
            nid = self._by_key.get(key) or nid
            self._unsaved[key] = nid
            self._remember(key, nid)
            found[key] = nid
        return found

    async def keys_of(self, nids: Collection[int]) -> dict[int, StateKey]:
        """The keys of these numbers. At most one query."""
        found = {nid: key for nid in nids if (key := self._by_nid.get(nid)) is not None}
        missing = [nid for nid in nids if nid not in found]
        if missing:
            for nid, key in (await state_keys.by_nids(self._db, missing)).items():
                self._remember(key, nid)
                found[nid] = key
        return found

    def unsaved(self, keys: Collection[StateKey]) -> dict[StateKey, int]:
        """Those of these keys that a transaction using them must write."""
        return {key: self._unsaved[key] for key in keys if key in self._unsaved}

    def saved(self, keys: Collection[StateKey]) -> None:
        """Told when such a transaction has committed."""
        for key in keys:
            self._unsaved.pop(key, None)

    async def _next(self) -> int:
        for nid in self._free:
            return nid
        self._free = iter(await state_keys.next_block(self._db))
        return next(self._free)

    def _remember(self, key: StateKey, nid: int) -> None:
        self._by_key[key] = nid
        self._absent.discard(key)
        self._by_key.move_to_end(key)
        self._by_nid[nid] = key
        while len(self._by_key) > REMEMBERED_MAX:
            oldest = next(iter(self._by_key))
            if oldest in self._unsaved:
                self._by_key.move_to_end(oldest)
                continue
            self._by_nid.pop(self._by_key.pop(oldest), None)
