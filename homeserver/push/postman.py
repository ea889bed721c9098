"""Empties the mailboxes: tells gateways what happened, leaves alone those that fail, removes what they reject.

A gateway that is down costs one request at growing intervals, up to an hour; how long is kept in the database. What
has waited for a day, was read meanwhile or was redacted isn't sent any more.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import structlog

from homeserver.core.identifiers import UserId
from homeserver.core.invite_permission import InviteVerdict
from homeserver.push.badges import Badges
from homeserver.push.digest import APART_MS, APP_ID, UNREAD_FOR_MS, UNSUBSCRIBE_PATH, MailSettings, Unread, digest
from homeserver.push.gateway import Gateway, Names, Outcome, Told, badge_notification, event_notification, tell
from homeserver.push.outbox import REST_MS_MAX, Mailbox, Outbox, Push
from homeserver.push.pushers import Pushers, mail_token
from homeserver.push.turns import Turns
from homeserver.push.unread import Unread as UnreadCounts
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.policy import invite_permissions
from homeserver.rooms.residents import Rooms
from homeserver.runtime.backoff import Backoff, left_ms
from homeserver.runtime.clock import Clock
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
from homeserver.storage import forks, memberships
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent
from homeserver.storage.pushers import PusherRow
from homeserver.web.outgoing import Outgoing

log = structlog.get_logger()

ROUND_S = 1.0
BACKOFF = Backoff(first_ms=5_000, most_ms=REST_MS_MAX)
AGE_MAX_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Reads:
    """What a notification is made of."""

    db: Database
    rooms: Rooms
    events: EventStore
    unread: UnreadCounts
    badges: Badges
    with_content: bool


class Postman:
    """Delivers. Two tasks: `run` for what was just decided, `round` for what can wait a second."""

    def __init__(self, outbox: Outbox, pushers: Pushers, reads: Reads, outgoing: Outgoing, tools: PostmanTools) -> None:
        self._outbox = outbox
        self._pushers = pushers
        self._reads = reads
        self._outgoing = outgoing
        self._clock = tools.clock
        self._tasks = tools.tasks
        # Set by the assembly where this server sends mail.
        self.mail: MailSettings | None = None
        self._turns = Turns()
        self._counted = tools.metrics.counter("hansa_pushes_total", "Notifications by how they ended.", "outcome")

    async def run(self) -> None:
        """One round of a background task: waits for news and has it delivered."""
        await self._outbox.news()
        await self._outbox.settle()
        self._post()

    async def round(self) -> None:
        """One round of another: badges of those who have read, and gateways whose rest is over."""
        await self._clock.sleep(ROUND_S)
        await self._outbox.take_readers()
        self._outbox.wake(self._clock.now_ms())
        self._post()

    def _post(self) -> None:
        for box in self._outbox.take_ready(self._clock.now_ms()):
            self._tasks.start(self._empty(box), name="push_delivery")

    async def _empty(self, box: Mailbox) -> None:
        try:
            while box.has_work:
                row = box.row or await self._row(box)
                if row is None:
                    self._outbox.remove(box)
                    return
                if row.app_id == APP_ID:
                    await self._write_mail(box, row)
                    return
                gateway = Gateway.of(row)
                async with self._turns.turn(row.user_id, gateway.host):
                    if not await self._deliver_next(box, row, gateway):
                        return
        finally:
            self._outbox.put_back(box)

    async def _write_mail(self, box: Mailbox, row: PusherRow) -> None:
        """One mail about all that has stayed unread; then none for a while."""
        box.is_badge_due = False
        now, pushes = self._clock.now_ms(), list(box.waiting.values())
        if not pushes or box.rests(now):
            return
        if left_ms(pushes[0].decided_ts + UNREAD_FOR_MS, now, UNREAD_FOR_MS):
            box.retry_ts = pushes[0].decided_ts + UNREAD_FOR_MS
            return
        if self.mail is None or not await self._pushers.may_mail(row):
            self._outbox.remove(box)
            return
        found = []
        stored = await self._reads.events.by_nids([push.event_nid for push in pushes])
        for push in pushes:
            event = stored.get(push.event_nid)
            names = await self._names(row.user_id, event, push) if event and event.redacted_by is None else None
            if event is not None and names is not None:
                sender, room = names.sender or event.event.sender, names.room or names.alias or ""
                found.append(Unread(push.room_id, room, sender, push.tweaks.get("highlight") is True))
        language = orjson.loads(row.description)["lang"].partition("-")[0].lower()
        mail = digest(found, row.pushkey, self.mail, language, self._unsubscribe_url(row)) if found else None
        if mail is not None and not self.mail.mails.put(mail):
            box.retry_ts = now + BACKOFF.first_ms
            return
        for push in pushes:
            self._outbox.finish(box, push.event_nid)
        if found:
            self._counted.labels("mailed").inc()
            box.retry_ts = now + APART_MS
            await self._set_health(box, row, 0, box.retry_ts)

    def _unsubscribe_url(self, row: PusherRow) -> str | None:
        token = mail_token(row)
        if self.mail is None or token is None:
            return None
        query = urlencode({"user_id": row.user_id, "address": row.pushkey, "token": token})
        return f"{self.mail.base_url}{UNSUBSCRIBE_PATH}?{query}"

    async def _row(self, box: Mailbox) -> PusherRow | None:
        box.row = await self._pushers.row(box.key)
        if box.row is not None:
            box.retry_ts = box.row.retry_ts
        return box.row

    async def _deliver_next(self, box: Mailbox, row: PusherRow, gateway: Gateway) -> bool:
        """Whether to go on with this mailbox."""
        if box.row is not row:
            return True  # changed while it waited for its turn
        if box.rests(self._clock.now_ms()):
            return False
        push = next(iter(box.waiting.values()), None)
        if push is None and not gateway.with_counts:
            box.is_badge_due = False
            return True
        if push is None:
            unread = await self._reads.badges.total(row.user_id)
            box.is_badge_due = False
            if unread == box.badge_sent:
                return True
            notification: dict[str, Any] | None = badge_notification(gateway, unread)
        else:
            unread = await self._reads.badges.total(row.user_id, [push.room_id]) if gateway.with_counts else 0
            notification = await self._notification(row, gateway, push, unread)
        if notification is None:
            assert push is not None
            self._outbox.finish(box, push.event_nid)
            self._counted.labels("dropped").inc()
            return True
        if box.row is not row:
            return True
        told = await tell(self._outgoing, gateway, notification)
        self._counted.labels(told.outcome.value).inc()
        if told.outcome is Outcome.FAILED:
            box.is_badge_due |= push is None
            await self._leave_alone(box, row, gateway, told)
            return False
        await self._done(box, row, push, unread, told)
        return told.outcome is Outcome.ACCEPTED

    async def _notification(self, row: PusherRow, gateway: Gateway, push: Push, unread: int) -> dict[str, Any] | None:
        """None for what is no longer worth telling, or may no longer be told."""
        if self._clock.now_ms() - push.decided_ts > AGE_MAX_MS:
            return None
        stored = (await self._reads.events.by_nids([push.event_nid])).get(push.event_nid)
        if stored is None or stored.redacted_by is not None:
            return None
        names = await self._names(row.user_id, stored, push)
        if names is None:
            return None
        return event_notification(
            gateway, stored.event, names, row.user_id, push.tweaks, unread, with_content=self._reads.with_content
        )

    async def _names(self, user_id: UserId, stored: StoredEvent, push: Push) -> Names | None:
        """None where the user is no longer to be told: has left, has read it, or wants no invites of its sender."""
        event, rooms = stored.event, self._reads.rooms
        if event.membership == "invite" and event.state_key == user_id:
            # Who has asked our user's server may hear a refusal; one that comes as an event of a room can't be refused.
            permissions = await invite_permissions(self._reads.db, user_id)
            if permissions.verdict(event.sender) is not InviteVerdict.TAKE:
                return None
        room = await rooms.get(push.room_id)
        if room is None:
            if await memberships.event_of(self._reads.db, push.room_id, user_id) != stored.nid:
                return None
            stripped = (await forks.stripped(self._reads.db, [stored.nid])).get(stored.nid, [])
            return Names.told(stripped, event.sender)
        membership = room.membership(user_id)
        if membership == "join":
            if await self._reads.unread.has_read(user_id, push.room_id, push.thread_id, stored.ordering or stored.nid):
                return None
        elif membership != "invite" or event.state_key != user_id:
            return None
        return Names.known(await rooms.with_known(room, [("m.room.member", event.sender)]), event.sender)

    async def _done(self, box: Mailbox, row: PusherRow, push: Push | None, unread: int, told: Told) -> None:
        if told.outcome is Outcome.REJECTED:
            log.info("pusher_rejected", user_id=row.user_id, app_id=row.app_id)
            await self._pushers.delete(row.user_id, row.app_id, row.pushkey)
            self._outbox.remove(box)
            return
        if push is not None:
            self._outbox.finish(box, push.event_nid)
        box.badge_sent = unread
        if row.failures:
            await self._set_health(box, row, 0, 0)

    async def _leave_alone(self, box: Mailbox, row: PusherRow, gateway: Gateway, told: Told) -> None:
        failures = row.failures + 1
        wait_ms = BACKOFF.wait_ms(failures)
        # Spread, so that not all pushers of a gateway come back in the same moment.
        wait_ms -= wait_ms * (zlib.crc32(row.pushkey.encode()) % 256) // 1024
        box.retry_ts = self._clock.now_ms() + wait_ms
        log.info(
            "push_failed",
            user_id=row.user_id,
            app_id=row.app_id,
            gateway=gateway.host,
            reason=told.reason,
            failures=failures,
            retry_in_ms=wait_ms,
        )
        await self._set_health(box, row, failures, box.retry_ts)

    async def _set_health(self, box: Mailbox, row: PusherRow, failures: int, retry_ts: int) -> None:
        changed = await self._pushers.set_health(row, failures, retry_ts)
        if box.row is row:  # it wasn't changed by its user meanwhile
            box.row = changed


@dataclass(frozen=True, slots=True)
class PostmanTools:
    """What the postman works with beside the notifications themselves."""

    clock: Clock
    tasks: Tasks
    metrics: Metrics
