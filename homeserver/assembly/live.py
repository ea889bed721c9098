"""Receipts, typing, presence, push rules and unread counts."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.notifications import NotificationEndpoints
from homeserver.client_api.presence import PresenceEndpoints
from homeserver.client_api.push_rules import PushRuleEndpoints
from homeserver.client_api.pushers import PusherEndpoints
from homeserver.client_api.read_markers import ReadMarkerEndpoints
from homeserver.client_api.receipts import ReceiptEndpoints
from homeserver.client_api.typing import TypingEndpoints
from homeserver.client_api.unsubscribe import Unsubscribing
from homeserver.ephemeral.presence import Presence, PresenceTimes
from homeserver.ephemeral.readable import Readable
from homeserver.ephemeral.receipts import Receipts
from homeserver.ephemeral.typing import Typing
from homeserver.push.badges import Badges
from homeserver.push.digest import MailSettings
from homeserver.push.notified import Notified
from homeserver.push.outbox import Outbox
from homeserver.push.postman import Postman, PostmanTools, Reads
from homeserver.push.pushers import Pushers
from homeserver.push.rulesets import PushRulesets
from homeserver.push.unread import Unread
from homeserver.rooms.client_events import ClientEvents
from homeserver.runtime.tasks import Tasks
from homeserver.web.pages import Pages
from homeserver.web.smtp import MailQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveParts:
    """Receipts, typing, presence, push rules and unread counts, plugged together."""

    receipts: Receipts
    typing: Typing
    presence: Presence
    rulesets: PushRulesets
    unread: Unread
    pushers: Pushers
    notified: Notified
    outbox: Outbox
    postman: Postman

    def endpoints(self, client_events: ClientEvents, pages: Pages) -> list[object]:
        return [
            ReceiptEndpoints(self.receipts),
            ReadMarkerEndpoints(self.receipts),
            TypingEndpoints(self.typing, self.presence),
            PresenceEndpoints(self.presence),
            PushRuleEndpoints(self.rulesets),
            PusherEndpoints(self.pushers),
            Unsubscribing(self.pushers, pages),
            NotificationEndpoints(self.notified, client_events),
        ]

    def send_mail(self, base: Base, mails: MailQueue | None) -> None:
        """Lets users be notified by mail, where this server sends any."""
        if mails is not None:
            self.pushers.sends_mail = True
            self.postman.mail = MailSettings(mails, base.server_name, base.config.base_url)

    async def start(self, tasks: Tasks) -> None:
        """Catches up, before anybody can write, and begins what runs beside the requests."""
        await self.rulesets.start()
        await self.outbox.start()
        await self.unread.start()
        tasks.forever(self.typing.run, name="typing")
        tasks.forever(self.presence.run, name="presence")
        tasks.forever(self.unread.run, name="unread")
        tasks.forever(self.postman.run, name="push")
        tasks.forever(self.postman.round, name="push_rounds")


def build_live(base: Base, parts: RoomParts) -> LiveParts:
    """Made before sync, so that these hear of an event before sync wakes its clients."""
    db, clock, journal = base.world.db, base.world.clock, parts.journal
    times = PresenceTimes(
        enabled=base.config.presence.enabled,
        idle_after_s=base.config.presence.idle_after_s,
        offline_after_s=base.config.presence.offline_after_s,
    )
    receipts = Receipts(db, journal, Readable(parts.rooms, parts.store, parts.gate), clock)
    presence = Presence(db, journal, parts.rooms, clock, times)
    rulesets = PushRulesets(db, journal)
    unread = Unread(db, journal, parts.rooms, rulesets, clock, base.server_name)
    outbox, badges = Outbox(db, rulesets, clock), Badges(unread, parts.rooms)
    pushers = Pushers(db, journal, clock, base.world.randomness)
    unread.followers.append(outbox)
    for listener in (presence.hear, rulesets.hear, unread.hear, outbox.hear, badges.hear):
        journal.listen(listener)
    reads = Reads(
        db=db,
        rooms=parts.rooms,
        events=parts.store,
        unread=unread,
        badges=badges,
        with_content=base.config.push.include_content,
    )
    tools = PostmanTools(clock, base.tasks, base.metrics)
    typing = Typing(journal, parts.rooms, clock)
    typing.is_silenced = parts.shadow_bans.is_banned
    return LiveParts(
        receipts=receipts,
        typing=typing,
        presence=presence,
        rulesets=rulesets,
        unread=unread,
        pushers=pushers,
        notified=Notified(parts.relation_reads, unread, rulesets, parts.ignore_lists),
        outbox=outbox,
        postman=Postman(outbox, pushers, reads, base.outgoing, tools),
    )
