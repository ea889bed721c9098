"""The audit log: who changed what, why, from where, and what it was before.

Invariant: entries are only added, and each holds the hash of the one before, so that a changed, missing or inserted
entry shows. The database refuses UPDATE, DELETE and TRUNCATE as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from admin.audit_actions import Action
from admin.storage import audit_log
from admin.storage.audit_log import AuditFilter, AuditRow
from homeserver.core import canonical_json
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Also, Database, Reader, Tx
from homeserver.web.endpoint import Operator

PAGE_MAX = 500
REASON_CHARS_MAX = 1_000
TARGET_CHARS_MAX = 512
# Of one side, as JSON: what is longer is kept by its digest alone.
STATE_BYTES_MAX = 16_384
_NEWEST = 2**63 - 1
_VERIFIED_AT_ONCE = 1_000
_SECRET = ("password", "secret", "access_token", "refresh_token", "login_token", "mac", "pushkey", "totp")
_HIDDEN = "<hidden>"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One act of an operator. `before` and `after` hold what differs; secrets among them are blanked."""

    actor: str
    action: Action
    target: str
    reason: str | None = None
    before: Mapping[str, Any] | None = None
    after: Mapping[str, Any] | None = None
    address: str | None = None
    request_id: str | None = None


def entry_of(
    operator: Operator,
    action: Action,
    target: str,
    *,
    reason: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """What this operator did, with where they did it from."""
    return AuditEntry(
        actor=operator.user_id,
        action=action,
        target=target,
        reason=reason,
        before=before,
        after=after,
        address=operator.address,
        request_id=operator.request_id,
    )


@dataclass(frozen=True, slots=True)
class Verdict:
    """What looking through the whole log gave. `broken_at` is the first entry that isn't what it was."""

    entries: int
    head: str
    broken_at: int | None = None
    problem: str | None = None


class AuditLog:
    """Adds entries, and reads them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def record(self, tx: Tx, entry: AuditEntry) -> int:
        """Adds an entry in the transaction of what it tells of; its number.

        Call it last: until the transaction ends, no other entry is added.
        """
        last, previous = await audit_log.lock_head(tx)
        row = AuditRow(
            entry_nid=last + 1,
            ts=self._clock.now_ms(),
            actor=_text(entry.actor, TARGET_CHARS_MAX),
            action=_text(entry.action, TARGET_CHARS_MAX),
            target=_text(entry.target, TARGET_CHARS_MAX),
            reason=_text(entry.reason, REASON_CHARS_MAX) if entry.reason is not None else None,
            before=_state(entry.before),
            after=_state(entry.after),
            address=_text(entry.address, 64) if entry.address is not None else None,
            request_id=_text(entry.request_id, 64) if entry.request_id is not None else None,
            previous=previous,
            hash=b"",
        )
        await audit_log.append(tx, replace(row, hash=digest_of(row)))
        return row.entry_nid

    def noting(self, entry: AuditEntry) -> Also:
        """The same, for commands that take what else to write in their transaction."""

        async def note(tx: Tx) -> None:
            await self.record(tx, entry)

        return note

    async def page(
        self, db: Reader, wanted: AuditFilter | None = None, *, below: int | None = None, limit: int = 100
    ) -> list[AuditRow]:
        """Entries with numbers below `below`, the newest first; at most `PAGE_MAX`."""
        start = below if below is not None else _NEWEST
        return await audit_log.page(db, wanted or AuditFilter(), start, min(max(limit, 1), PAGE_MAX))


async def verify(db: Database) -> Verdict:
    """Goes through the whole log: numbers without gaps, each hash right, the chain unbroken up to the head."""
    expected, previous = 1, bytes(32)
    end, head = await audit_log.head(db)
    while rows := await audit_log.after(db, expected - 1, _VERIFIED_AT_ONCE):
        for row in rows:
            problem = _problem(row, expected, previous)
            if problem is not None:
                return Verdict(expected - 1, head.hex(), expected, problem)
            expected, previous = row.entry_nid + 1, row.hash
            if row.entry_nid == end and row.hash != head:
                return Verdict(expected - 1, head.hex(), row.entry_nid, "the newest entry is another one than noted")
    if expected <= end:
        return Verdict(expected - 1, head.hex(), expected, "entries are missing at the end")
    return Verdict(expected - 1, previous.hex())


def _problem(row: AuditRow, expected: int, previous: bytes) -> str | None:
    if row.entry_nid != expected:
        return f"entry {expected} is missing"
    if row.previous != previous:
        return f"entry {expected} doesn't follow the one before it"
    if row.hash != digest_of(row):
        return f"entry {expected} was changed"
    return None


def digest_of(row: AuditRow) -> bytes:
    """The hash that an entry must have."""
    content = {
        "entry_nid": row.entry_nid,
        "ts": row.ts,
        "actor": row.actor,
        "action": row.action,
        "target": row.target,
        "reason": row.reason,
        "before": row.before,
        "after": row.after,
        "address": row.address,
        "request_id": row.request_id,
        "previous": row.previous.hex(),
    }
    return hashlib.sha256(canonical_json.encode(content)).digest()


def _text(value: str, chars_max: int) -> str:
    """What PostgreSQL and JSON can hold, on one line whoever reads it."""
    cut = value[:chars_max].encode("utf-8", "replace").decode("utf-8")
    return "".join(char if char.isprintable() else " " for char in cut)


def _state(value: Mapping[str, Any] | None) -> str | None:
    if value is None:
        return None
    encoded = canonical_json.encode(_without_secrets(dict(value)))
    if len(encoded) > STATE_BYTES_MAX:
        encoded = canonical_json.encode({"sha256": hashlib.sha256(encoded).hexdigest(), "bytes": len(encoded)})
    return encoded.decode()


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            str(key): _HIDDEN if _is_secret(str(key), part) else _without_secrets(part) for key, part in value.items()
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_without_secrets(part) for part in value]
    return value


def _is_secret(key: str, value: object) -> bool:
    """Whether this names a secret; that one was set or wasn't is none."""
    return value is not None and not isinstance(value, bool) and any(part in key.lower() for part in _SECRET)
