"""A server of the live parts alone, over the real write path: receipts, typing, presence, push rules, unread counts."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from homeserver.accounts.ignore_lists import IgnoreLists
from homeserver.client_api.notifications import NotificationEndpoints
from homeserver.client_api.presence import PresenceEndpoints
from homeserver.client_api.push_rules import PushRuleEndpoints
from homeserver.client_api.pushers import PusherEndpoints
from homeserver.client_api.read_markers import ReadMarkerEndpoints
from homeserver.client_api.receipts import ReceiptEndpoints
from homeserver.client_api.typing import TypingEndpoints
from homeserver.core.errors import UnknownToken
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import DeviceId, EventId, RoomId, ServerName, UserId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.core.signing import Signer
from homeserver.ephemeral.presence import Presence, PresenceTimes
from homeserver.ephemeral.readable import Readable
from homeserver.ephemeral.receipts import Receipts
from homeserver.ephemeral.typing import Typing
from homeserver.journal.journal import Entry, Journal
from homeserver.push.notified import Notified
from homeserver.push.pushers import Pushers
from homeserver.push.rulesets import PushRulesets
from homeserver.push.tallies import UnreadCounts
from homeserver.push.unread import Unread
from homeserver.rooms.aggregations import Aggregations, RelationReads
from homeserver.rooms.building import WriteSteps
from homeserver.rooms.client_events import ClientEvents
from homeserver.rooms.committer import Committer
from homeserver.rooms.event_store import EventStore
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.residents import Rooms
from homeserver.rooms.shown_with import ShownWith
from homeserver.rooms.state_numbers import StateNumbers
from homeserver.rooms.writer import RoomWriter
from homeserver.runtime.ids import SystemRandomness
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
from homeserver.web.endpoint import Caller
from homeserver.web.rate_limits import RateLimiter
from homeserver.web.server import HttpRequest, WebServer
from tests.kit.clock import FakeClock
from tests.kit.counting import CountingDatabase

SERVER = ServerName("hansa.test")
ALICE, BOB, CAROL, DAVE = (UserId(f"@{name}:{SERVER}") for name in ("alice", "bob", "carol", "dave"))


class NoneErased:
    async def erased_at(self, user_ids: Collection[UserId]) -> Mapping[UserId, int]:
        return {}

    async def erased(self) -> Mapping[UserId, int]:
        return {}


class TokensAreNames:
    """A token is a user's id."""

    async def authenticate(self, token: str, request: HttpRequest) -> Caller:
        if not token.startswith("@"):
            raise UnknownToken("no such token")
        return Caller(user_id=UserId(token), device_id=DeviceId("D"))


class Live:
    """The parts, and shorthands to use them as clients do."""

    def __init__(self, db: CountingDatabase, clock: FakeClock) -> None:
        self.clock = clock
        self.db = db
        self.tasks = Tasks(clock)
        self.journal = Journal(db)
        self.heard: list[Entry] = []
        numbers, randomness = StateNumbers(db), SystemRandomness()
        self.events = EventStore(db)
        self.rooms = Rooms(db, self.events, numbers)
        signer = Signer(SERVER, "ed25519:0", bytes(32))
        steps = WriteSteps(self.rooms, self.events, numbers, signer, randomness)
        self.writer = RoomWriter(self.rooms, steps, Committer(db, self.tasks, clock), self.journal, self.tasks)
        gate = ReadGate(db, self.events, numbers, NoneErased(), self.journal)
        self.receipts = Receipts(db, self.journal, Readable(self.rooms, self.events, gate), clock)
        self.typing = Typing(self.journal, self.rooms, clock)
        self.presence = Presence(db, self.journal, self.rooms, clock, PresenceTimes())
        self.rulesets = PushRulesets(db, self.journal)
        self.unread = Unread(db, self.journal, self.rooms, self.rulesets, clock, SERVER)
        for listener in (self.presence.hear, self.rulesets.hear, self.unread.hear, self.heard.extend):
            self.journal.listen(listener)
        reads = RelationReads(db=db, store=self.events, rooms=self.rooms, gate=gate)
        ignore_lists = IgnoreLists(db, self.journal)
        aggregations = Aggregations(reads, ignore_lists, self.journal, SERVER)
        notified = Notified(reads, self.unread, self.rulesets, ignore_lists)
        self.web = WebServer(RateLimiter({}, clock), clock, Metrics(), authenticator=TokensAreNames())
        self.web.add(
            ReceiptEndpoints(self.receipts),
            ReadMarkerEndpoints(self.receipts),
            TypingEndpoints(self.typing, self.presence),
            PresenceEndpoints(self.presence),
            PushRuleEndpoints(self.rulesets),
            PusherEndpoints(Pushers(db, self.journal, clock, SystemRandomness())),
            NotificationEndpoints(notified, ClientEvents(ShownWith(reads, NoneErased()), clock, aggregations)),
        )
        self._http: aiohttp.ClientSession | None = None
        self._base = ""

    async def start(self) -> None:
        await self.journal.start()
        await self.rulesets.start()
        await self.unread.start()
        [(host, port)] = await self.web.start([("127.0.0.1", 0, None)])
        self._base = f"http://{host}:{port}/_matrix/client/v3"
        self._http = aiohttp.ClientSession()

    async def stop(self) -> None:
        assert self._http is not None
        await self._http.close()
        await self.web.stop()
        await self.tasks.stop()

    async def call(
        self, user_id: UserId, method: str, path: str, body: Any = None, *, raw: bytes | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Status and JSON. `path` comes percent-encoded."""
        from yarl import URL

        assert self._http is not None
        data = {"data": raw} if raw is not None else {"json": body} if body is not None else {}
        url = URL(self._base + path, encoded=True)
        headers = {"Authorization": f"Bearer {user_id}"}
        async with self._http.request(method, url, headers=headers, **data) as response:
            return response.status, await response.json()

    async def ok(self, user_id: UserId, method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, answer = await self.call(user_id, method, path, body)
        assert status == 200, answer
        return answer

    # --- rooms

    def draft(self, sender: UserId, type: str, content: dict[str, Any], state_key: str | None = None) -> Draft:
        return Draft(
            type=type, sender=sender, content=content, state_key=state_key, origin_server_ts=self.clock.now_ms()
        )

    async def room(self, *members: UserId, version: str = "11", power: dict[str, Any] | None = None) -> RoomId:
        """A public room; the first member made it."""
        owner, *others = members
        room_id = RoomId(f"!{SystemRandomness().letters(12)}:{SERVER}")
        levels = {"users": {owner: 100}, **(power or {})}
        await self.writer.create(
            ROOM_VERSIONS[version],
            room_id,
            [
                self.draft(owner, "m.room.create", {"room_version": version}, ""),
                self.draft(owner, "m.room.member", {"membership": "join"}, owner),
                self.draft(owner, "m.room.power_levels", levels, ""),
                self.draft(owner, "m.room.join_rules", {"join_rule": "public"}, ""),
            ],
        )
        for other in others:
            await self.join(other, room_id)
        return room_id

    async def join(self, user_id: UserId, room_id: RoomId) -> Event:
        return await self.send(user_id, room_id, "m.room.member", {"membership": "join"}, user_id)

    async def leave(self, user_id: UserId, room_id: RoomId) -> Event:
        return await self.send(user_id, room_id, "m.room.member", {"membership": "leave"}, user_id)

    async def send(
        self, sender: UserId, room_id: RoomId, type: str, content: dict[str, Any], state_key: str | None = None
    ) -> Event:
        return await self.writer.send(room_id, self.draft(sender, type, content, state_key))

    async def say(
        self, sender: UserId, room_id: RoomId, *, thread: str | None = None, mention: Any = None, body: str = "moin"
    ) -> EventId:
        content: dict[str, Any] = {"msgtype": "m.text", "body": body}
        if thread is not None:
            content["m.relates_to"] = {"rel_type": "m.thread", "event_id": thread}
        if mention is not None:
            content["m.mentions"] = {"user_ids": mention}
        return (await self.send(sender, room_id, "m.room.message", content)).event_id

    # --- what clients would see

    async def read(self, user_id: UserId, room_id: RoomId, event_id: EventId, **body: Any) -> None:
        await self.ok(user_id, "POST", f"/rooms/{room_id}/receipt/m.read/{event_id}", body)

    async def unread_of(self, user_id: UserId, room_id: RoomId) -> UnreadCounts:
        return (await self.unread.counts(user_id, [room_id]))[room_id]


@asynccontextmanager
async def running_live(dsn: str, clock: FakeClock | None = None) -> AsyncIterator[Live]:
    db = await CountingDatabase.connect(dsn, size_min=1, size_max=4)
    assert isinstance(db, CountingDatabase)
    live = Live(db, clock or FakeClock())
    try:
        await live.start()
        yield live
    finally:
        await live.stop()
        await db.close()
