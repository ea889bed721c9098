"""What follows a decision, really done: redact, kick, ban, mute, suspend, expire, report, tell; and undone.

In rooms, the member of ours with the most power acts; where the room's rules say no, the log says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import orjson
import structlog

from admin.audit import AuditEntry, AuditLog
from admin.room_hand import RoomHand
from admin.spam import storage
from admin.spam.book import BY_ITSELF
from admin.spam.engine import Act
from admin.spam.mutes import Mutes
from admin.spam.raids import RaidMode
from admin.spam.rules import Action
from admin.spam.webhooks import Webhooks
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.events import Draft
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.runtime.clock import Clock
from homeserver.storage import reports, users
from homeserver.storage.database import Database
from homeserver.storage.reports import NewReport
from homeserver.storage.users import UserRow

log = structlog.get_logger()

REDACTED_MAX = 200
LOOKED_BACK = 50_000
_LOCKS = {"lock": "invite_only", "quiet": "quiet"}


class Accounts(Protocol):
    """Implemented by accounts.moderation."""

    async def target(self, user_id: UserId) -> UserRow:
        """Raises MatrixError for an account that nobody acts upon."""
        ...


class Sessions(Protocol):
    """Implemented by accounts.sessions."""

    def account_changed(self, user_id: UserId) -> None: ...


class Expiring(Protocol):
    """Implemented by rooms.expiry."""

    async def expire_event_at(self, event_id: EventId, ts_ms: int) -> None: ...

    async def expire_event_after_reading(self, event_id: EventId, after_ms: int) -> None: ...

    async def keep_event(self, event_id: EventId) -> bool: ...


class MediaBars(Protocol):
    """Implemented by media.repository."""

    async def set_quarantined(self, server_name: str, media_id: str, is_quarantined: bool) -> None: ...


@dataclass(slots=True)
class Reach:
    """What sanctions reach beyond rooms; given once those parts are built."""

    server_name: ServerName
    webhooks: Webhooks
    raids: RaidMode
    mutes: Mutes
    expiry: Expiring
    audit: AuditLog
    accounts: Accounts | None = None
    sessions: Sessions | None = None
    media: MediaBars | None = None


class Sanctions:
    """Carries out what rules call for."""

    def __init__(self, db: Database, hand: RoomHand, clock: Clock, reach: Reach) -> None:
        self._db = db
        self._hand = hand
        self._clock = clock
        self.reach = reach

    async def carry_out(self, acts: Sequence[Act], event_id: str | None) -> None:
        """Each of them; one that can't be done doesn't keep the others from being done."""
        for act in acts:
            try:
                await self._do(act, event_id)
            except MatrixError as error:
                log.warning("spam_action_failed", rule_id=act.rule.id, action=act.action.kind, why=str(error)[:200])

    async def _do(self, act: Act, event_id: str | None) -> None:
        action, decision = act.action, act.decision
        sender, room_id = UserId(decision.sender), RoomId(decision.room_id)
        if action.kind == "redact":
            await self._redact(room_id, sender, action, event_id)
        elif action.kind in ("kick", "ban"):
            membership = "leave" if action.kind == "kick" else "ban"
            await self._hand.set_member(room_id, sender, membership, action.reason)
        elif action.kind == "mute":
            because = f"rule {act.rule.id}, version {act.rule.version}"
            await self.reach.mutes.mute(room_id, sender, minutes=action.minutes, because=because)
        elif action.kind in _LOCKS:
            because = f"rule {act.rule.id}, version {act.rule.version}"
            await self.reach.raids.lock(room_id, how=_LOCKS[action.kind], seconds=action.seconds, because=because)
        elif action.kind == "suspend":
            await self._set_suspended(sender, True, f"rule {act.rule.id}, version {act.rule.version}")
        elif action.kind == "quarantine":
            await self._set_quarantined(_media_of(decision.seen), True)
        elif action.kind in ("expire", "burn"):
            await self._expire(action, event_id)
        elif action.kind == "report":
            await self._report(act, event_id)
        elif action.kind == "notify":
            await self._notify(RoomId(action.room_id), act, event_id)
        elif action.kind == "webhook":
            await self._call(action.url, act, event_id)
        # A tag is the decision itself, which is recorded.

    async def undo(self, row: Any) -> list[str]:
        """Takes back what can be taken back; what that was. Raises MatrixError where a step is refused."""
        outcome, sender, room_id = row["outcome"].split(","), UserId(row["sender"]), RoomId(row["room_id"])
        done = []
        if "ban" in outcome and room_id:
            room = await self._hand.rooms.get(room_id)
            if room is not None and room.membership(sender) == "ban":
                await self._hand.set_member(room_id, sender, "leave", "the ban was taken back")
                done.append("ban")
        if "mute" in outcome and room_id:
            because = f"decision {row['decision_id']} was undone"
            if await self.reach.mutes.unmute(room_id, sender, because=because):
                done.append("mute")
        if any(kind in outcome for kind in _LOCKS) and room_id in self.reach.raids.locked:
            await self.reach.raids.unlock(room_id, because=f"decision {row['decision_id']} was undone")
            done.append("lock")
        if "suspend" in outcome:
            await self._set_suspended(sender, False, f"decision {row['decision_id']} was undone")
            done.append("suspend")
        if "quarantine" in outcome:
            await self._set_quarantined(_media_of(row["seen"]), False)
            done.append("quarantine")
        if {"expire", "burn"}.intersection(outcome) and row["event_id"] and await self._keep(EventId(row["event_id"])):
            done.append("expire")
        return done

    async def send_held(self, row: Any) -> str:
        """Sends an event that was held, as its sender; its id. Raises MatrixError where the room says no by now."""
        kept = orjson.loads(row["draft"])
        draft = Draft(
            type=kept["type"],
            sender=UserId(kept["sender"]),
            content=kept["content"],
            state_key=kept["state_key"],
            origin_server_ts=self._clock.now_ms(),
        )
        [event] = await self._hand.send_all(RoomId(row["room_id"]), [draft])
        return event.event_id

    # --- in rooms

    async def _redact(self, room_id: RoomId, sender: UserId, action: Action, event_id: str | None) -> None:
        room, by = await self._hand.acting(room_id)
        targets = [event_id] if event_id else []
        if action.minutes:
            since_ms = self._clock.now_ms() - action.minutes * 60_000
            targets += await storage.messages_since(
                self._db, room.nid, sender, since_ms, after=room.newest - LOOKED_BACK, limit=REDACTED_MAX
            )
        drafts = [
            Draft(
                type="m.room.redaction",
                sender=by,
                content={"reason": action.reason} if action.reason else {},
                redacts=EventId(target),
                origin_server_ts=self._clock.now_ms(),
            )
            for target in dict.fromkeys(targets)
        ]
        if drafts:
            await self._hand.send_all(room_id, drafts)

    async def _expire(self, action: Action, event_id: str | None) -> None:
        if event_id is None:
            return
        if action.kind == "burn":
            await self.reach.expiry.expire_event_after_reading(EventId(event_id), action.seconds * 1_000)
        else:
            await self.reach.expiry.expire_event_at(EventId(event_id), self._clock.now_ms() + action.seconds * 1_000)

    async def _keep(self, event_id: EventId) -> bool:
        try:
            return await self.reach.expiry.keep_event(event_id)
        except NotFound:  # its room is gone, and it with it
            return False

    async def _notify(self, room_id: RoomId, act: Act, event_id: str | None) -> None:
        _, by = await self._hand.acting(room_id)
        text = f"Rule {act.rule.id} ({act.rule.title}): {act.decision.sender}, {act.decision.room_id or 'no room'}"
        if event_id:
            text += f", event {event_id}"
        await self._hand.send(room_id, by, "m.room.message", {"msgtype": "m.notice", "body": text})

    # --- beyond rooms

    async def _set_suspended(self, user_id: UserId, suspended: bool, why: str) -> None:
        accounts, sessions = self.reach.accounts, self.reach.sessions
        if accounts is None or sessions is None or domain_of(user_id) != self.reach.server_name:
            return
        before = await accounts.target(user_id)
        entry = AuditEntry(
            actor=BY_ITSELF,
            action="user.suspend",
            target=user_id,
            reason=why,
            before={"suspended": before.is_suspended},
            after={"suspended": suspended},
        )
        async with self._db.transaction() as tx:
            await users.set_suspended(tx, user_id, suspended)
            await self.reach.audit.record(tx, entry)
        sessions.account_changed(user_id)

    async def _set_quarantined(self, media: Sequence[str], barred: bool) -> None:
        for uri in media:
            server_name, _, media_id = uri.removeprefix("mxc://").partition("/")
            if self.reach.media is not None and media_id:
                await self.reach.media.set_quarantined(server_name, media_id, barred)

    async def _report(self, act: Act, event_id: str | None) -> None:
        decision = act.decision
        report = NewReport(
            kind="event" if event_id else "user",
            target=event_id or decision.sender,
            reporter=UserId(f"@:{self.reach.server_name}"),
            reason=f"rule {act.rule.id}: {act.action.reason or act.rule.title}"[:1_000],
            received_ts=self._clock.now_ms(),
            room_id=RoomId(decision.room_id) if decision.room_id else None,
            sender=UserId(decision.sender),
        )
        async with self._db.transaction() as tx:
            await reports.upsert(tx, report)

    async def _call(self, url: str, act: Act, event_id: str | None) -> None:
        decision = act.decision
        told = {
            "rule_id": act.rule.id,
            "rule_version": act.rule.version,
            "hook": decision.hook,
            "sender": decision.sender,
            "room_id": decision.room_id,
            "event_id": event_id or "",
            "decided_ts": decision.decided_ts,
        }
        await self.reach.webhooks.call(url, orjson.dumps(told).decode())


def _media_of(seen: str) -> list[str]:
    media = orjson.loads(seen).get("event.media")
    return [uri for uri in media if isinstance(uri, str)] if isinstance(media, list) else []
