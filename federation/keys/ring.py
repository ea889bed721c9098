"""Whether a server really signed something: keys from memory, the database, the server or a notary, in this order.

Invariants: one fetch at a time for a server, however many ask; a server that can't give a key is not asked again
before a wait that grows; signatures are checked in threads, many at once. spec: rooms/v5/#signing-key-validity-period
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from federation.keys.documents import VALID_AHEAD_MS_MAX, KeyDocument
from federation.keys.fetching import KeyFetcher
from federation.keys.own import OwnKeys
from federation.request_signing import is_key_id
from federation.storage import server_keys
from federation.storage.server_keys import DocumentRow, KeyRow
from homeserver.core import canonical_json
from homeserver.core.identifiers import ServerName
from homeserver.core.known_keys import is_known_key
from homeserver.core.signing import is_signature_valid
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database

SERVERS_MAX = 20_000
# In memory, of all servers; and of one server, in memory and in the database. A document may list 200 of them.
KEYS_HELD_MAX = 200_000
KEYS_OF_SERVER_MAX = 400
# A signature that names so many keys is checked by the first of them.
KEYS_TRIED_MAX = 4
# Of so many servers at most documents are fetched at once for those who have us vouch for them.
FOR_OTHERS_MAX = 50
# More signatures than this have their keys looked up in a thread: about 2 ms of work.
_INLINE_MAX = 200
_CHECKED_INLINE_MAX = 4
_CHECKED_PER_THREAD = 64
# After an answer that didn't help (it lacks the key, or isn't valid for long enough), and after no answer.
ASK_AGAIN_MS = 60_000
# After one that helped: a server that comes back with a new key is soon believed, and can still make us ask but rarely.
ASK_AGAIN_HELPED_MS = 5_000
ASK_AGAIN_MS_MAX = 3_600_000
_CLOCKS_APART_MS_MAX = 3_600_000


class Verdict(Enum):
    """What became of one signature. Only VALID is good; KEY_UNKNOWN may be another time."""

    VALID = "valid"
    UNSIGNED = "unsigned"  # no signature of this server by a key of a kind that we know
    KEY_UNKNOWN = "key_unknown"  # the key couldn't be had
    KEY_NOT_VALID = "key_not_valid"  # the key wasn't valid at that time
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Signed:
    """Something that `server_name` is said to have signed.

    `message` are the bytes that the signature covers, `signatures` the server's own entry: key id → base64.
    `valid_at_ms`: when the key must have been valid (for events `origin_server_ts`); None in room versions 1 to 4,
    where any key that the server ever had will do. `is_request`: only keys in use count, not old ones.
    """

    server_name: ServerName
    message: bytes
    signatures: Mapping[str, Any]
    valid_at_ms: int | None = None
    is_request: bool = False


@dataclass(slots=True)
class _Wait:
    """`until_ms` by the time since the start, which nobody puts back."""

    until_ms: int
    wait_ms: int


class Keys:
    """All keys, ours and those of others."""

    def __init__(self, db: Database, fetcher: KeyFetcher, own: OwnKeys, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._fetcher = fetcher
        self._own = own
        self._clock = clock
        self._server_name = server_name
        self._known: OrderedDict[ServerName, Mapping[str, KeyRow]] = OrderedDict()
        self._held = 0
        self._waits: OrderedDict[ServerName, _Wait] = OrderedDict()
        self._fetching: dict[ServerName, asyncio.Task[None]] = {}
        self._for_others = 0

    async def verify(self, requests: Sequence[Signed]) -> list[Verdict]:
        """A verdict for each, in order. One query and one fetch per server at most, whatever the number of requests.

        A server that doesn't answer costs what waits for it up to the fetcher's time-outs, once.
        """
        await self._obtain(requests)
        if len(requests) > _INLINE_MAX:
            checks, verdicts = await asyncio.to_thread(self._chosen, requests)
        else:
            checks, verdicts = self._chosen(requests)
        results = await _checked(checks)
        return [
            verdict if isinstance(verdict, Verdict) else Verdict.VALID if results[verdict] else Verdict.WRONG
            for verdict in verdicts
        ]

    async def documents(self, wanted: Mapping[ServerName, int]) -> list[Mapping[str, Any]]:
        """The newest documents that can be had of these servers, for those who ask us to vouch for them.

        `wanted` says until when each should be valid; one that isn't is fetched anew, and given as it is otherwise.
        """
        others = [server for server in wanted if server != self._server_name]
        stored = {row.server_name: row for row in await server_keys.documents(self._db, others)}
        short = [server for server in others if _until(stored.get(server)) < wanted[server]]
        # Anybody may ask, for servers that never answer: beyond a bound they get what is known. Our own needs go on.
        short = short[: max(FOR_OTHERS_MAX - self._for_others, 0)]
        if short:
            fetched = asyncio.ensure_future(self._fetch(short, {server: {} for server in short}))
            self._for_others += len(short)
            fetched.add_done_callback(lambda _: self._fetched_for_others(len(short)))
            await asyncio.shield(fetched)
            stored |= {row.server_name: row for row in await server_keys.documents(self._db, short)}
        found = [canonical_json.decode(row.document) for row in stored.values()]
        return [*found, self._own.document()] if self._server_name in wanted else found

    def _fetched_for_others(self, count: int) -> None:
        self._for_others -= count

    # --- which key

    def _chosen(self, requests: Sequence[Signed]) -> tuple[list[tuple[bytes, object, bytes]], list[Verdict | int]]:
        """What is to be checked with which key; for each request its place among the checks, or why there is none."""
        checks: list[tuple[bytes, object, bytes]] = []
        verdicts: list[Verdict | int] = []
        for request in requests:
            row, verdict = self._choose(request)
            if row is None:
                verdicts.append(verdict)
            else:
                verdicts.append(len(checks))
                checks.append((request.message, request.signatures[row.key_id], row.verify_key))
        return checks, verdicts

    def _choose(self, request: Signed) -> tuple[KeyRow | None, Verdict]:
        """A key that this signature is to be checked with, or why there is none."""
        key_ids = _usable(request.signatures)
        if not key_ids:
            return None, Verdict.UNSIGNED
        known = self._rows(request.server_name)
        rows = [known[key_id] for key_id in key_ids if key_id in known]
        for row in rows:
            if _is_valid(row, request):
                return row, Verdict.VALID
        return None, Verdict.KEY_NOT_VALID if rows else Verdict.KEY_UNKNOWN

    def _rows(self, server: ServerName) -> Mapping[str, KeyRow]:
        if server == self._server_name:
            return {row.key_id: row for row in self._own.rows()}
        return self._known.get(server, {})

    def _lacking(self, requests: Sequence[Signed]) -> list[Signed]:
        """Those that no key is known for. Only reads: a thread may do it."""
        missing = (Verdict.KEY_UNKNOWN, Verdict.KEY_NOT_VALID)
        return [request for request in requests if self._choose(request)[1] in missing]

    async def _lacking_of(self, requests: Sequence[Signed]) -> list[Signed]:
        if len(requests) > _INLINE_MAX:
            return await asyncio.to_thread(self._lacking, requests)
        return self._lacking(requests)

    # --- where keys come from

    async def _obtain(self, requests: Sequence[Signed]) -> None:
        lacking = await self._lacking_of(requests)
        unread = {request.server_name for request in lacking} - self._known.keys()
        if unread:
            self._remember(await server_keys.keys(self._db, unread), unread)
            lacking = await self._lacking_of(lacking)
        wanted: dict[ServerName, dict[str, int]] = {}
        for request in lacking:
            ids = wanted.setdefault(request.server_name, {})
            for key_id in _usable(request.signatures):
                ids[key_id] = max(ids.get(key_id, 0), request.valid_at_ms or 0)
        wanted.pop(self._server_name, None)
        if wanted:
            # Who signs a request is up, whatever was thought of it.
            up = {request.server_name for request in lacking if request.is_request}
            await self._fetch(list(wanted), wanted, up)

    async def _fetch(
        self,
        servers: Iterable[ServerName],
        wanted: Mapping[ServerName, Mapping[str, int]],
        up: Collection[ServerName] = (),
    ) -> None:
        """Fetches those that aren't to wait; joins fetches that are under way. Never raises for a server's fault."""
        now_ms = int(self._clock.monotonic_s() * 1000)
        fresh = [
            server
            for server in servers
            if server not in self._fetching and self._may_ask(server, now_ms, is_up=server in up)
        ]
        under_way = {self._fetching[server] for server in servers if server in self._fetching}
        if fresh:
            task = asyncio.get_running_loop().create_task(self._fetch_all({s: wanted[s] for s in fresh}, up))
            for server in fresh:
                self._fetching[server] = task
            under_way.add(task)
        if under_way:
            # One who gives up (a request's time-out) doesn't end it for the others.
            await asyncio.gather(*(asyncio.shield(task) for task in under_way))

    async def _fetch_all(self, wanted: Mapping[ServerName, Mapping[str, int]], up: Collection[ServerName]) -> None:
        try:
            asked = (self._fetcher.direct(server, also_when_down=server in up) for server in wanted)
            direct = await asyncio.gather(*asked)
            documents = [document for document in direct if document is not None]
            helped = {document.server_name for document in documents if _has(document, wanted[document.server_name])}
            if left := {server: ids for server, ids in wanted.items() if server not in helped}:
                vouched = await self._fetcher.vouched(left)
                helped |= {document.server_name for document in vouched}
                documents += vouched
            await self._keep(documents)
            for server in wanted:
                self._note(server, helped=server in helped)
        finally:
            for server in wanted:
                self._fetching.pop(server, None)

    def _may_ask(self, server: ServerName, now_ms: int, *, is_up: bool) -> bool:
        """Whether it needn't wait; who is up waits but a short time, however long it was away."""
        wait = self._waits.get(server)
        if wait is None or wait.until_ms <= now_ms:
            return True
        return is_up and wait.until_ms - wait.wait_ms + ASK_AGAIN_MS <= now_ms

    def _note(self, server: ServerName, *, helped: bool) -> None:
        before = self._waits.pop(server, None)
        if helped:
            wait_ms = ASK_AGAIN_HELPED_MS
        elif before is None:
            wait_ms = ASK_AGAIN_MS
        else:
            wait_ms = min(max(before.wait_ms * 2, ASK_AGAIN_MS), ASK_AGAIN_MS_MAX)
        self._waits[server] = _Wait(int(self._clock.monotonic_s() * 1000) + wait_ms, wait_ms)
        if len(self._waits) > SERVERS_MAX:
            self._waits.popitem(last=False)

    async def _keep(self, documents: Sequence[KeyDocument]) -> None:
        """Stores them. A document older than the stored one only adds keys that weren't known.

        A server that has ever more keys loses those that were valid longest ago: events that they signed can't be
        checked any more.
        """
        if not documents:
            return
        names = {document.server_name for document in documents}
        async with self._db.transaction() as tx:
            stored = {row.server_name: _good_until(row) for row in await server_keys.documents(tx, names)}
            rows = {(row.server_name, row.key_id): row for row in await server_keys.keys(tx, names)}
            listed: dict[ServerName, Collection[str]] = {}
            for document in documents:
                is_newer = document.valid_until_ms >= stored.get(document.server_name, 0)
                for row in document.keys.values():
                    if is_newer or (row.server_name, row.key_id) not in rows:
                        rows[row.server_name, row.key_id] = row
                if is_newer:
                    stored[document.server_name] = document.valid_until_ms
                    listed[document.server_name] = document.keys
                    encoded = canonical_json.encode(document.document)
                    now_ms = self._clock.now_ms()
                    await server_keys.put_document(
                        tx, DocumentRow(document.server_name, encoded, document.valid_until_ms, now_ms)
                    )
            if left_out := _too_many(rows.values(), listed):
                await server_keys.delete_keys(tx, left_out)
                rows = {name: row for name, row in rows.items() if name not in left_out}
            await server_keys.put_keys(tx, list(rows.values()))
        self._remember(rows.values(), names)

    def _remember(self, rows: Iterable[KeyRow], servers: Iterable[ServerName]) -> None:
        by_server: dict[ServerName, dict[str, KeyRow]] = {server: {} for server in servers}
        for row in rows:
            # One that has become known since it was stored, too.
            if not is_known_key(row.verify_key):
                by_server[row.server_name][row.key_id] = row
        for server, known in by_server.items():
            self._held += len(known) - len(self._known.get(server, ()))
            self._known[server] = known
            self._known.move_to_end(server)
        while len(self._known) > SERVERS_MAX or self._held > KEYS_HELD_MAX:
            self._held -= len(self._known.popitem(last=False)[1])


def _too_many(rows: Iterable[KeyRow], listed: Mapping[ServerName, Collection[str]]) -> set[tuple[ServerName, str]]:
    """What is beyond the bound of each server. First stays what its newest document lists, then what was valid last."""
    by_server: dict[ServerName, list[KeyRow]] = {}
    for row in rows:
        by_server.setdefault(row.server_name, []).append(row)
    found: set[tuple[ServerName, str]] = set()
    for server, own in by_server.items():
        current = listed.get(server, ())
        own.sort(key=lambda row: (row.key_id in current, row.valid_until_ms), reverse=True)
        found.update((server, row.key_id) for row in own[KEYS_OF_SERVER_MAX:])
    return found


def _usable(signatures: Mapping[str, Any]) -> list[str]:
    return [key_id for key_id in list(signatures)[: 4 * KEYS_TRIED_MAX] if is_key_id(key_id)][:KEYS_TRIED_MAX]


def _good_until(row: DocumentRow) -> int:
    """What later documents are held against. One that said it is good for ever (a clock that was wrong, a key that was
    stolen) makes none that comes after it the older one: then not even the server itself could take that back."""
    is_believed = row.valid_until_ms <= row.fetched_ms + VALID_AHEAD_MS_MAX + _CLOCKS_APART_MS_MAX
    return row.valid_until_ms if is_believed else 0


def _until(row: DocumentRow | None) -> int:
    return row.valid_until_ms if row is not None else -1


def _is_valid(row: KeyRow, request: Signed) -> bool:
    if request.is_request and row.is_old:
        return False
    return request.valid_at_ms is None or request.valid_at_ms <= row.valid_until_ms


def _has(document: KeyDocument, wanted: Mapping[str, int]) -> bool:
    rows = [document.keys.get(key_id) for key_id in wanted]
    return all(row is not None and row.valid_until_ms >= wanted[row.key_id] for row in rows)


async def _checked(checks: Sequence[tuple[bytes, object, bytes]]) -> list[bool]:
    if len(checks) <= _CHECKED_INLINE_MAX:
        return _check_all(checks)
    parts = [checks[start : start + _CHECKED_PER_THREAD] for start in range(0, len(checks), _CHECKED_PER_THREAD)]
    return [
        result
        for part in await asyncio.gather(*(asyncio.to_thread(_check_all, part) for part in parts))
        for result in part
    ]


def _check_all(checks: Sequence[tuple[bytes, object, bytes]]) -> list[bool]:
    return [is_signature_valid(message, signature, key) for message, signature, key in checks]
