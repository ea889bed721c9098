"""What other programs say, into the room: checked, put into words, and said once."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qs
from weakref import WeakValueDictionary

import orjson
import structlog

from homeserver.core.errors import Forbidden, NotFound, NotJson
from homeserver.core.events import Event
from homeserver.core.identifiers import EventId, RoomId, UserId
from homeserver.ports import Limits
from homeserver.rooms.commands.submission import Submission
from homeserver.rooms.residents import Rooms
from homeserver.rooms.writer import Transaction
from homeserver.runtime.clock import Clock
from homeserver.storage import users, webhooks
from homeserver.storage.database import Database
from homeserver.storage.webhooks import AlertRow, WebhookRow
from homeserver.webhooks.messages import Message, Payload, Writer
from homeserver.webhooks.registry import Webhooks, digest
from homeserver.webhooks.sources import Source, delivery_id, is_signed, render

log = structlog.get_logger()

BODY_BYTES_MAX = 2 * 1024 * 1024
# Larger ones are parsed off the event loop.
_QUICK_BYTES = 64 * 1024
# An alert that nothing was heard of for so long is told anew.
ALERT_KEPT_MS = 7 * 86_400_000
_SWEEP_S = 3_600.0


@dataclass(frozen=True, slots=True)
class Taken:
    """A delivery that was taken, and the message that came of it; None where it says nothing to people."""

    source: Source
    event_id: EventId | None


class Hearing:
    """Takes deliveries."""

    def __init__(self, registry: Webhooks, db: Database, rooms: Rooms, submission: Submission, limits: Limits) -> None:
        self._registry = registry
        self._db = db
        self._rooms = rooms
        self._submission = submission
        self._limits = limits
        # News of one alert is told one after the other.
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, webhook_id: str, token: str, headers: Mapping[str, str], body: bytes, clock: Clock) -> Taken:
        """What came of it.

        Raises NotFound for a wrong URL, Forbidden for a wrong signature or a room it was put out of, NotJson,
        LimitExceeded.
        """
        row = await webhooks.one(self._db, webhook_id)
        if row is None or not hmac.compare_digest(row.token_digest, digest(token)):
            raise NotFound("there is no such webhook")
        self._limits.check("webhook", webhook_id)
        source = Source(row.source)
        if row.signing_secret is not None and not is_signed(source, headers, body, row.signing_secret):
            raise Forbidden("the signature is missing or wrong")
        if len(body) > _QUICK_BYTES:
            payload = await asyncio.to_thread(_parsed, source, headers, body)
        else:
            payload = _parsed(source, headers, body)
        message = render(source, headers, payload, row.template)
        if message is None:
            return Taken(source, None)
        await self._check_in(row)
        turn = self._turns.setdefault(webhook_id, asyncio.Lock())
        async with turn:
            event_id = await self._tell(row, message, delivery_id(source, headers), clock.now_ms())
        async with self._db.transaction() as tx:
            await webhooks.mark_used(tx, webhook_id, clock.now_ms())
        return Taken(source, event_id)

    async def acknowledge(self, room_id: RoomId, event_id: str, user_id: UserId, now_ms: int) -> None:
        """Writes under an alert of this room who looks after it. Nothing happens for other messages, or a second time.

        The room is that of the reaction: who isn't where the alert was told can't speak for those who are.
        """
        alert = await webhooks.alert_of_event(self._db, event_id)
        row = await webhooks.one(self._db, alert.webhook_id) if alert is not None else None
        if alert is None or row is None or row.room_id != room_id or alert.acknowledged_by is not None:
            return
        turn = self._turns.setdefault(row.webhook_id, asyncio.Lock())
        async with turn:
            fresh = await webhooks.alert(self._db, row.webhook_id, alert.alert_group)
            if fresh is not None and fresh.event_id == event_id and fresh.acknowledged_by is None:
                await self._replace(row, replace(fresh, acknowledged_by=user_id, changed_ts=now_ms), None)

    async def sweep(self, clock: Clock) -> None:
        """One round of a background task: forgets alerts that nothing was heard of for long."""
        async with self._db.transaction() as tx:
            await webhooks.delete_old_alerts(tx, clock.now_ms() - ALERT_KEPT_MS)
        await clock.sleep(_SWEEP_S)

    async def _check_in(self, row: WebhookRow) -> None:
        """Raises Forbidden where its owner may say nothing now, or where a moderator has put the speaker out.

        The latter ends the webhook's words for good.
        """
        owner = await users.by_id(self._db, row.owner)
        if owner is not None and (owner.is_suspended or owner.is_locked):
            raise Forbidden("whoever made this webhook may say nothing")
        room = await self._rooms.get(row.room_id)
        if room is not None and room.membership(self._registry.speaker.user_id) == "join":
            return
        if row.has_entered:
            raise Forbidden("this webhook was put out of its room")
        await self._registry.enter(row.room_id, row.owner)

    async def _tell(self, row: WebhookRow, message: Message, delivery: str | None, now_ms: int) -> EventId:
        known = await webhooks.alert(self._db, row.webhook_id, message.group) if message.group is not None else None
        if known is not None:
            news = replace(known, text=message.text, html=message.html, changed_ts=now_ms)
            return await self._replace(row, news, delivery, is_over=message.state == "resolved")
        event = await self._say(row, message.content(), delivery)
        if message.group is not None and message.state == "firing":
            alert = AlertRow(
                webhook_id=row.webhook_id,
                alert_group=message.group,
                event_id=event.event_id,
                text=message.text,
                html=message.html,
                changed_ts=now_ms,
            )
            async with self._db.transaction() as tx:
                await webhooks.put_alert(tx, alert)
        return event.event_id

    async def _replace(
        self, row: WebhookRow, alert: AlertRow, delivery: str | None, *, is_over: bool = False
    ) -> EventId:
        """Edits the alert's message. spec: client-server-api/#event-replacements"""
        text, html = alert.text, alert.html
        if alert.acknowledged_by is not None and not is_over:
            mark = Writer().line().say(f"👀 {alert.acknowledged_by} looks after it").message()
            text, html = f"{text}\n{mark.text}", html + mark.html
        new = Message(text=text, html=html).content()
        content = {
            **Message(text=f"* {text}", html=f"* {html}").content(),
            "m.new_content": new,
            "m.relates_to": {"rel_type": "m.replace", "event_id": alert.event_id},
        }
        event = await self._say(row, content, delivery)
        async with self._db.transaction() as tx:
            if is_over:
                await webhooks.delete_alert(tx, alert.webhook_id, alert.alert_group)
            else:
                await webhooks.put_alert(tx, alert)
        return event.event_id

    async def _say(self, row: WebhookRow, content: dict[str, object], delivery: str | None) -> Event:
        me = self._registry.speaker.user_id
        # Clients that know it show the webhook's own name over its messages (MSC4144).
        profile = {"id": row.webhook_id, "displayname": row.name}
        draft = self._submission.draft("m.room.message", me, {**content, "com.beeper.per_message_profile": profile})
        transaction = None
        if delivery is not None:
            transaction = Transaction(me, None, delivery, f"webhook {row.webhook_id}")
        return await self._submission.send(row.room_id, draft, transaction)


def _parsed(source: Source, headers: Mapping[str, str], body: bytes) -> Payload:
    """JSON, or a form with JSON in it as Slack and GitHub may send it. Raises NotJson."""
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == "application/x-www-form-urlencoded":
        try:
            fields = parse_qs(body.decode(), max_num_fields=10)
        except (UnicodeDecodeError, ValueError):
            raise NotJson("the form can't be read") from None
        body = fields.get("payload", [""])[0].encode("utf-8", "surrogatepass")
    try:
        return Payload(orjson.loads(body))
    except orjson.JSONDecodeError:
        raise NotJson("the payload is no JSON") from None
