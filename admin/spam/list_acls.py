"""Servers that policy lists keep out of a room: on its server ACL, beside what the room denies by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog

from admin.audit import AuditEntry, AuditLog
from admin.room_hand import RoomHand
from admin.spam.book import BY_ITSELF
from admin.storage import spam_policy_lists as policy_rows
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomId
from homeserver.rooms.residents import Room
from homeserver.storage.database import Database

log = structlog.get_logger()

# Of one ACL: an event may have 64 KiB, and other servers read 10,000 patterns at most.
DENIED_MAX = 5_000
DENIED_BYTES_MAX = 50_000
# So many of those that came and went the audit log names.
TOLD_MAX = 50
ACL = "m.room.server_acl"


class ListAcls:
    """Writes ACLs, and knows what lists put there."""

    def __init__(self, db: Database, hand: RoomHand, audit: AuditLog) -> None:
        self._db = db
        self._hand = hand
        self._audit = audit

    async def apply(self, room_id: RoomId, before: Sequence[str], servers: Sequence[str]) -> None:
        """Has a room deny these servers in place of those that lists put there before.

        What the room refuses is told to the log. Done twice, it does nothing the second time.
        """
        try:
            await self._set(room_id, before, _fitting(servers, room_id))
        except MatrixError as error:
            log.warning("spam_list_not_applied", room_id=room_id, why=str(error)[:200])

    async def _set(self, room_id: RoomId, before: Sequence[str], denied: Sequence[str]) -> None:
        room = await self._hand.rooms.get(room_id)
        if room is None:
            async with self._db.transaction() as tx:
                await policy_rows.forget_applied_acls(tx, [room_id])
            return
        room = await self._hand.rooms.with_known(room, [(ACL, "")])
        content = acl_of(room, before, denied)
        if content is not None:
            # First, so that what lists said is never taken for the room's own.
            async with self._db.transaction() as tx:
                await policy_rows.put_applied_acl(tx, room_id, list(dict.fromkeys([*before, *denied])))
            await self._hand.set_state(room_id, ACL, content)
        if content is not None or list(before) != list(denied):
            async with self._db.transaction() as tx:
                if denied:
                    await policy_rows.put_applied_acl(tx, room_id, denied)
                else:
                    await policy_rows.forget_applied_acls(tx, [room_id])
                if content is not None:
                    await self._audit.record(tx, _entry(room_id, before, denied))


def acl_of(room: Room, before: Sequence[str], denied: Sequence[str]) -> dict[str, Any] | None:
    """The room's ACL with what lists deny in place of what they denied before; None where it says so already."""
    event = room.known_state(ACL)
    if event is None and not denied:
        return None
    content = dict(event.content) if event is not None else {"allow": ["*"], "allow_ip_literals": False}
    present, lists_own = content.get("deny"), frozenset(before)
    # Others may have written anything there: what is no text stays, and means nothing.
    entries = present if isinstance(present, list) else []
    kept = [entry for entry in entries if not (isinstance(entry, str) and entry in lists_own)]
    rooms_own = frozenset(entry for entry in kept if isinstance(entry, str))
    wanted = [*kept, *(entry for entry in denied if entry not in rooms_own)]
    return None if event is not None and present == wanted else {**content, "deny": wanted}


def _entry(room_id: RoomId, before: Sequence[str], denied: Sequence[str]) -> AuditEntry:
    gone, new = sorted(set(before).difference(denied)), sorted(set(denied).difference(before))
    return AuditEntry(
        actor=BY_ITSELF,
        action="room.list_acl",
        target=room_id,
        reason="the policy lists of this room",
        before={"denied": len(before), "gone": gone[:TOLD_MAX]},
        after={"denied": len(denied), "new": new[:TOLD_MAX]},
    )


def _fitting(servers: Sequence[str], room_id: str) -> list[str]:
    taken: list[str] = []
    size = 0
    for server in servers[:DENIED_MAX]:
        size += len(server) + 3
        if size > DENIED_BYTES_MAX:
            break
        taken.append(server)
    if len(taken) < len(servers):
        log.warning("spam_acl_too_large", room_id=room_id, denied=len(taken), of=len(servers))
    return taken
