"""Counts of unread events, by user, room and thread. spec: client-server-api/#receiving-notifications

A consumer of the journal: `hear` runs as a listener, before clients are woken, so that a sync that shows an event
counts it. An event costs one evaluation of the default rules for its whole room, and one for each user whom it mentions
or who has rules of their own. Nothing is written per member: places go to the database in batches, with the cursor,
and what came after the cursor is counted again at start.
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

import structlog

from homeserver.core.events import Event, StateKey
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, domain_of
from homeserver.core.push_rules import Actions, Compiled
from homeserver.core.relations import THREAD, relation_of
from homeserver.journal.journal import Entry, Journal
from homeserver.push.asking import Asking
from homeserver.push.followers import ThreadFollowers
from homeserver.push.names import NamesInRooms
from homeserver.push.rulesets import PushRulesets
from homeserver.push.tallies import MAIN, POSITIONS_MAX, Places, RoomTally, UnreadCounts
from homeserver.rooms.residents import Room
from homeserver.rooms.thread_subscriptions import FollowChanged
from homeserver.runtime.clock import Clock
from homeserver.storage import events, journal_cursors, push_rules, receipts, unread
from homeserver.storage.database import Database, Tx
from homeserver.storage.events import StoredEvent
from homeserver.storage.receipts import Receipt
from homeserver.storage.unread import EVERYONE, REDACTED, Mark, Page

log = structlog.get_logger()

CONSUMER = "unread"
FLUSH_S = 3.0
TALLIES_MAX = 5_000
THREADED_MAX = 50_000
# Members with rules of their own who are asked at once; the rest of a huge room follows a moment later.
ASKED_AT_ONCE = 250
CATCH_UP_EVENTS = 500
UNNAMED_MAX = 5_000
# After so many events that notified nobody the cursor is written all the same.
CURSOR_EVENTS = 1_000
_MESSAGES = frozenset({"m.room.message", "m.room.encrypted"})
# No user id: it can't be written in JSON.
_NOBODY = UserId("\ud800")


class Rooms(Protocol):
    """Rooms by id. Implemented by rooms.residents."""

    async def get_many(self, room_ids: Collection[RoomId]) -> dict[RoomId, Room]: ...

    async def with_known(self, room: Room, keys: Collection[StateKey]) -> Room: ...


class Follower(Protocol):
    """Told what the rules ask for, so that an event is put to them once. Implemented by push.outbox."""

    def note(self, asking: Asking, user_id: UserId, actions: Actions | None) -> None:
        """Told by `hear`, with EVERYONE for those whose rules are the defaults; what is said of a user goes before."""
        ...

    async def settle(self) -> bool:
        """Called before the cursor moves: takes in what was noted. Whether there is anything to save."""
        ...

    async def save(self, tx: Tx) -> None:
        """Called in the transaction of the cursor. Must not forget anything before `saved`."""
        ...

    def saved(self) -> None: ...


class Unread:
    """Counts, and the places of the events that notified."""

    def __init__(
        self,
        db: Database,
        journal: Journal,
        rooms: Rooms,
        rulesets: PushRulesets,
        clock: Clock,
        server_name: ServerName,
    ) -> None:
        self._db = db
        self._journal = journal
        self._rooms = rooms
        self._rulesets = rulesets
        self._names = NamesInRooms(rooms, server_name)
        self.threads = ThreadFollowers(db)
        self._clock = clock
        self._server_name = server_name
        self._tallies: OrderedDict[RoomId, RoomTally] = OrderedDict()
        self._threaded: OrderedDict[EventId, str] = OrderedDict()  # events in threads → the root
        self._heard = 0
        self._began_at = 0  # events up to here are of earlier runs
        self._uncounted = 0  # events since the cursor was written
        self._places: list[tuple[RoomTally, int, UserId, str, bool, int]] = []
        self._marks: dict[tuple[int, UserId, str], int] = {}
        self._trims: dict[int, int] = {}
        self._late: list[tuple[Asking, RoomTally, list[UserId]]] = []
        # What was redacted without an event for each: by a ban, say.
        self._gone: list[tuple[RoomId, Sequence[int]]] = []
        # Messages that may name people whose display names have to be read first, and who was asked already.
        self._unnamed: list[tuple[Asking, RoomTally, set[UserId]]] = []
        # Add those who want to be told before `start`.
        self.followers: list[Follower] = []

    # --- what others ask

    async def counts(self, user_id: UserId, room_ids: Collection[RoomId]) -> dict[RoomId, UnreadCounts]:
        """What the user has unread in these rooms. From memory; three queries for all rooms that aren't there yet."""
        tallies = await self._loaded(user_id, room_ids)
        since = self._rulesets.custom.get(user_id)
        return {room_id: tally.counts(user_id, since) for room_id, tally in tallies.items()}

    async def has_read(self, user_id: UserId, room_id: RoomId, thread_id: str, position: int) -> bool:
        """Whether the user has read a place of a thread. From memory where the room's counts are."""
        tally = (await self._loaded(user_id, [room_id]))[room_id]
        return position <= tally.reading(user_id).upto(thread_id)

    async def newest(
        self, user_id: UserId, room_ids: Collection[RoomId], before: int, limit: int, *, only_highlights: bool
    ) -> list[tuple[int, bool]]:
        """(place, whether it was read) of the newest events that notified the user, newest first."""
        since = self._rulesets.custom.get(user_id)
        found: list[tuple[int, bool]] = []
        for tally in (await self._loaded(user_id, room_ids)).values():
            reading = tally.reading(user_id)
            places = tally.newest(user_id, since, before, limit, only_highlights)
            found.extend((place, place <= reading.upto(_thread_at(tally, user_id, place))) for place in places)
        return sorted(found, reverse=True)[:limit]

    async def take_followers(self, asked: Collection[Asking], rules: Compiled) -> None:
        """Lets these events know who follows their threads, if the rules ask that. One query at most."""
        roots = {asking.root for asking in asked if asking.root is not None} if rules.asks_threads else set()
        followers = await self.threads.load(roots) if roots else {}
        for asking in asked:
            if asking.root is not None:
                asking.know_followers(followers.get(asking.root))

    # --- life

    async def start(self) -> None:
        """Counts what was written after the last flush of an earlier run. Call it before anybody can write."""
        upto = self._began_at = self._journal.visible
        cursor = await journal_cursors.position(self._db, CONSUMER) or 0
        while nids := await events.after_position(self._db, cursor, upto, CATCH_UP_EVENTS):
            await self._catch_up(await events.by_nids(self._db, nids))
            cursor = max(nids.values())
        self._heard = max(self._heard, upto)
        self._journal.follow(CONSUMER, lambda: self._heard)
        await self.flush()

    async def run(self) -> None:
        """One round of a background task: waits a moment, then writes what is new."""
        await self._clock.sleep(FLUSH_S)
        await self.flush()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: counts events, takes in receipts."""
        for entry in entries:
            try:
                if entry.kind == "event":
                    written = entry.payload
                    self._count(written.room, written.stored, written.membership_before)
                    if written.redacts is not None:
                        self._redact(written.room, written.redacts)
                elif entry.kind == "receipt" and isinstance(entry.payload, tuple):
                    for receipt in entry.payload:
                        self._receipt(receipt)
                elif entry.kind == "redacted" and entry.room_id is not None:
                    self._gone.append((entry.room_id, entry.payload))
                elif isinstance(entry.payload, FollowChanged):
                    self.threads.hear(entry.payload, entry.position)
            except Exception:
                log.exception("unread_count_failed", room_id=entry.room_id, position=entry.position)
            self._heard = max(self._heard, entry.position)

    async def flush(self) -> None:
        """Writes new places and marks with the cursor, in one transaction."""
        has_more = await self._settle()
        if not (has_more or self._places or self._marks or self._trims or self._uncounted >= CURSOR_EVENTS):
            return
        self._uncounted = 0
        upto, places, marks, trims = self._heard, self._places, self._marks, self._trims
        self._places, self._marks, self._trims = [], {}, {}
        pages, custom = _pages(places), self._rulesets.unsaved
        try:
            async with self._db.transaction() as tx:
                if pages:
                    await unread.insert_pages(tx, pages)
                if marks:
                    await unread.upsert_marks(tx, [Mark(*key, position) for key, position in marks.items()])
                if trims:
                    await unread.trim(tx, trims)
                if custom:
                    await push_rules.ensure(tx, custom)
                await journal_cursors.advance(tx, CONSUMER, upto)
                for follower in self.followers:
                    await follower.save(tx)
        except BaseException:
            self._places[:0] = places
            self._marks = {**marks, **self._marks}
            self._trims = {**trims, **self._trims}
            raise
        self._rulesets.saved(custom)
        for follower in self.followers:
            follower.saved()
        for tally, *_ in places:
            tally.unsaved -= 1
        self._evict()

    async def _settle(self) -> bool:
        """Takes in what was left for later, and has the followers do so. Whether they have anything to save."""
        has_more = False
        while True:
            await self._ask_late()
            await self._take_out()
            for follower in self.followers:
                has_more |= await follower.settle()
            if not (self._late or self._unnamed or self._gone):
                return has_more

    async def _take_out(self) -> None:
        """Two queries at most for each batch of what was redacted."""
        while self._gone:
            room_id, nids = self._gone[0]
            room = (await self._rooms.get_many([room_id])).get(room_id)
            if room is not None:
                for stored in await events.by_nids(self._db, nids):
                    self._redact(room, stored)
            self._gone.pop(0)

    # --- counting

    def _count(self, room: Room, stored: StoredEvent, membership_before: str | None) -> None:
        event = stored.event
        self._uncounted += 1
        place = stored.ordering
        if not stored.is_for_people or place is None or place <= 0:
            return
        tally = self._tally(room.room_id, place - 1)
        if event.type == "m.room.member" and event.state_key is not None:
            self._member(room, tally, event, place, membership_before)
        thread_id = self._thread_of(event)
        if self._is_local(event.sender) and (event.type in _MESSAGES or (thread_id and event.type != "m.room.member")):
            self._mark(room, tally, event.sender, thread_id or MAIN, place)
        asking = Asking(room, stored, thread_id or MAIN, self._names.of(room.room_id))
        asking.know_followers(self.threads.known(asking.root))
        everyone = asking.actions(self._rulesets.default, _NOBODY)
        shared = (everyone.notify, everyone.highlight) if everyone else (False, False)
        self._note(asking, tally, EVERYONE, shared, (False, False))
        if everyone is not None and everyone.notify:
            self._tell(asking, EVERYONE, everyone)
        target = UserId(event.state_key or "")
        if asking.is_invite_of(target) and self._is_local(target):
            self._ask_custom(asking, tally, [target])
        self._ask_mentioned(asking, tally, _mentioned(event) | self._named(asking, tally), shared)
        custom = self._custom_members(room, tally)
        if place <= self._began_at:
            custom = [user_id for user_id in custom if self._was_custom(user_id, place)]
        self._ask_custom(asking, tally, custom[:ASKED_AT_ONCE])
        if len(custom) > ASKED_AT_ONCE:
            self._late.append((asking, tally, custom[ASKED_AT_ONCE:]))

    def _ask_mentioned(
        self, asking: Asking, tally: RoomTally, user_ids: Collection[UserId], shared: tuple[bool, bool]
    ) -> None:
        """Asks the default rules for those to whom they may say more than to everyone."""
        for user_id in user_ids:
            if (
                not self._was_custom(user_id, asking.position)
                and self._is_local(user_id)
                and asking.room.membership(user_id) == "join"
            ):
                self._ask(asking, tally, user_id, self._rulesets.default, shared)

    def _named(self, asking: Asking, tally: RoomTally) -> set[UserId]:
        """Whose names are in the text of a message that doesn't say whom it mentions; some may be found later."""
        text = asking.mentions_by_text
        if text is None:
            return set()
        found = self._names.by_localpart(asking.room, text)
        if self._names.knows(asking.room):
            found |= self._names.by_display_name(asking.room.room_id, text)
        elif len(self._unnamed) < UNNAMED_MAX:
            self._unnamed.append((asking, tally, found))
        return found - {asking.event.sender}

    async def _ask_unnamed(self) -> None:
        """Reads display names, and asks for those who are named by them."""
        while self._unnamed:
            asking, tally, asked = self._unnamed.pop(0)
            await self._names.load(asking.room)
            text = asking.mentions_by_text
            if text is not None:
                asking.names = self._names.of(asking.room.room_id)
                named = self._names.by_display_name(asking.room.room_id, text) - asked - {asking.event.sender}
                everyone = asking.actions(self._rulesets.default, _NOBODY)
                shared = (everyone.notify, everyone.highlight) if everyone else (False, False)
                self._ask_mentioned(asking, tally, named, shared)

    def _ask_custom(self, asking: Asking, tally: RoomTally, user_ids: Sequence[UserId]) -> None:
        absent = []
        for user_id in user_ids:
            rules = self._rulesets.compiled(user_id)
            if rules is None or asking.hangs_on_followers(rules, user_id):
                absent.append(user_id)
            else:
                self._ask(asking, tally, user_id, rules, (False, False))
        if absent:
            self._late.append((asking, tally, absent))

    async def _ask_late(self) -> None:
        """Asks the rules of those who were left: too many at once, or not in memory, they or who follows a thread."""
        await self._ask_unnamed()
        while self._late:
            asking, tally, user_ids = self._late.pop(0)
            for start in range(0, len(user_ids), ASKED_AT_ONCE):
                part = user_ids[start : start + ASKED_AT_ONCE]
                compiled = await self._rulesets.compile_many(part)
                if asking.root is not None and any(rules.asks_threads for rules in compiled.values()):
                    asking.know_followers((await self.threads.load([asking.root]))[asking.root])
                for user_id, rules in compiled.items():
                    self._ask(asking, tally, user_id, rules, (False, False))
                await self._clock.sleep(0)

    def _ask(
        self, asking: Asking, tally: RoomTally, user_id: UserId, rules: Compiled, counted: tuple[bool, bool]
    ) -> None:
        if self._rulesets.ignores(user_id, asking.event.sender):
            return
        actions = asking.actions(rules, user_id)
        self._tell(asking, user_id, actions)
        if actions is not None and actions.notify and not asking.is_invite_of(user_id):
            self._note(asking, tally, user_id, (True, actions.highlight), counted)

    def _tell(self, asking: Asking, user_id: UserId, actions: Actions | None) -> None:
        for follower in self.followers:
            follower.note(asking, user_id, actions)

    def _note(
        self, asking: Asking, tally: RoomTally, user_id: UserId, wanted: tuple[bool, bool], counted: tuple[bool, bool]
    ) -> None:
        """Keeps the place where it isn't `counted` already for everyone: (notifies, highlights)."""
        for is_highlight in (False, True):
            if wanted[is_highlight] and not counted[is_highlight]:
                places = tally.shared if user_id == EVERYONE else tally.places_of(user_id)
                places.add(asking.thread_id, asking.position, is_highlight=is_highlight)
                tally.unsaved += 1
                self._places.append((tally, asking.room.nid, user_id, asking.thread_id, is_highlight, asking.position))
                self._trim(tally, places, asking.room.nid)

    def _trim(self, tally: RoomTally, places: Places, room_nid: int) -> None:
        """Keeps a room's places bounded: past the cap the older half goes, for everybody."""
        main = places.notified.get(MAIN)
        if main is not None and len(main) > POSITIONS_MAX:
            floor = main[len(main) // 2]
        elif len(places.notified) % 256 == 0 and places.size() > POSITIONS_MAX:
            every = sorted(position for found in places.notified.values() for position in found)
            floor = every[len(every) // 2]
        else:
            return
        tally.shared.drop_upto(floor)
        for personal in tally.personal.values():
            personal.drop_upto(floor)
        self._trims[room_nid] = floor

    def _member(self, room: Room, tally: RoomTally, event: Event, position: int, before: str | None) -> None:
        user_id = UserId(event.state_key or "")
        if not self._is_local(user_id):
            return
        self._names.hear(room.room_id, event)
        if event.membership == "join" and before != "join":
            tally.reading(user_id).join(position)
            self._marks[room.nid, user_id, ""] = position
            if user_id in self._rulesets.custom and user_id not in tally.custom:
                tally.custom.append(user_id)
        elif event.membership != "join":
            tally.readings.pop(user_id, None)
            tally.personal.pop(user_id, None)
            tally.loaded_of.discard(user_id)
            if user_id in tally.custom:
                tally.custom.remove(user_id)

    def _mark(self, room: Room, tally: RoomTally, user_id: UserId, thread_id: str, position: int) -> None:
        """Who sends an event has read its thread up to there."""
        tally.reading(user_id).advance(thread_id, position)
        self._marks[room.nid, user_id, thread_id] = position

    def _receipt(self, receipt: Receipt) -> None:
        tally = self._tallies.get(receipt.room_id)
        reading = tally.readings.get(receipt.user_id) if tally else None
        if reading is not None:
            reading.advance(receipt.thread_id, receipt.event_ordering)

    def _redact(self, room: Room, target: StoredEvent) -> None:
        """A redacted event no longer counts; written down, because pages that hold it may be in the database."""
        position = _place(target)
        tally = self._tally(room.room_id, self._heard)
        tally.remove(position)
        tally.unsaved += 1
        self._places.append((tally, room.nid, REDACTED, MAIN, False, position))

    def _thread_of(self, event: Event) -> str | None:
        """The event's thread; None where it is related to an event that may be in one."""
        related = relation_of(event)
        if related is None:
            return MAIN
        thread_id = related.event_id if related.rel_type == THREAD else self._threaded.get(related.event_id)
        if thread_id is not None:
            self._threaded[event.event_id] = thread_id
            if len(self._threaded) > THREADED_MAX:
                self._threaded.popitem(last=False)
        return thread_id

    def _custom_members(self, room: Room, tally: RoomTally) -> list[UserId]:
        """Local members with rules of their own. Worked out anew when somebody becomes such a user."""
        if tally.custom_generation != self._rulesets.generation:
            custom = self._rulesets.custom
            if len(custom) < len(room.members):
                tally.custom = [user_id for user_id in custom if room.members.get(user_id) == "join"]
            else:
                tally.custom = [user_id for user_id in room.joined_members() if user_id in custom]
            tally.custom_generation = self._rulesets.generation
        return tally.custom

    def _was_custom(self, user_id: UserId, position: int) -> bool:
        """Whether the user had rules of their own when this event came; if not, it counts with the room's."""
        since = self._rulesets.custom.get(user_id)
        return since is not None and since < position

    def _is_local(self, user_id: UserId) -> bool:
        return domain_of(user_id) == self._server_name

    # --- memory

    def _tally(self, room_id: RoomId, complete_after: int) -> RoomTally:
        tally = self._tallies.get(room_id)
        if tally is None:
            tally = self._tallies[room_id] = RoomTally(room_id, complete_after)
        return tally

    def _evict(self) -> None:
        excess = len(self._tallies) - TALLIES_MAX
        for room_id in list(self._tallies)[: max(0, excess)]:
            if not self._tallies[room_id].unsaved:
                del self._tallies[room_id]

    async def _loaded(self, user_id: UserId, room_ids: Collection[RoomId]) -> dict[RoomId, RoomTally]:
        tallies = {room_id: self._tally(room_id, self._heard) for room_id in room_ids}
        missing: list[RoomId] = []
        for room_id, tally in tallies.items():
            self._tallies.move_to_end(room_id)
            # Made before the queries run: what is heard meanwhile goes to them.
            if not (tally.is_loaded and tally.reading(user_id).is_loaded and user_id in tally.loaded_of):
                missing.append(room_id)
        if missing:
            pages = await unread.pages(self._db, missing, [EVERYONE, REDACTED, user_id])
            marks = await unread.marks(self._db, missing, user_id)
            for receipt in await receipts.own(self._db, user_id, missing):
                tallies[receipt.room_id].reading(user_id).advance(receipt.thread_id, receipt.event_ordering)
            for mark in marks:
                _take_mark(tallies, mark)
            _take_pages(tallies, pages, user_id)
        return tallies

    async def _catch_up(self, stored: Sequence[StoredEvent]) -> None:
        """Counts events of an earlier run: what was said is in the database, what it replaced too."""
        rooms = await self._rooms.get_many({one.event.room_id for one in stored})
        replaced = await events.by_nids(self._db, [one.replaces for one in stored if one.replaces])
        before = {one.nid: one.event.membership for one in replaced}
        targets = [target for one in stored if (target := one.event.redacted_id) is not None]
        redacted = {one.redacted_by: one for one in await events.by_ids(self._db, targets)} if targets else {}
        for one in sorted(stored, key=_place):
            room = rooms.get(one.event.room_id)
            if room is not None:
                if one.redacted_by is None:
                    self._count(room, one, before.get(one.replaces or 0))
                if one.nid in redacted:
                    self._redact(room, redacted[one.nid])
            self._heard = _place(one)
            await self._clock.sleep(0)


def _place(stored: StoredEvent) -> int:
    return stored.ordering or stored.nid


def _mentioned(event: Event) -> set[UserId]:
    mentions = event.content.get("m.mentions")
    user_ids = mentions.get("user_ids") if isinstance(mentions, dict) else None
    if not isinstance(user_ids, list):
        return set()
    return {UserId(user_id) for user_id in user_ids if isinstance(user_id, str) and user_id != event.sender}


def _pages(places: Sequence[tuple[RoomTally, int, UserId, str, bool, int]]) -> list[Page]:
    grouped: dict[tuple[int, UserId, str, bool], list[int]] = {}
    for _, room_nid, user_id, thread_id, is_highlight, position in places:
        grouped.setdefault((room_nid, user_id, thread_id, is_highlight), []).append(position)
    return [
        Page(
            room_nid=room_nid,
            user_id=user_id,
            thread_id=thread_id,
            is_highlight=is_highlight,
            positions=array("q", sorted(positions)),
        )
        for (room_nid, user_id, thread_id, is_highlight), positions in grouped.items()
    ]


def _take_mark(tallies: Mapping[RoomId, RoomTally], mark: Mark) -> None:
    assert mark.room_id is not None
    reading = tallies[mark.room_id].reading(mark.user_id)
    if mark.thread_id:
        reading.advance(mark.thread_id, mark.position)
    else:
        reading.join(mark.position)


def _take_pages(tallies: Mapping[RoomId, RoomTally], pages: Sequence[Page], user_id: UserId) -> None:
    """Puts what was read before what is in memory: once for the room, once for the user."""
    joined: dict[tuple[RoomId, UserId, str, bool], array[int]] = {}
    for page in pages:
        assert page.room_id is not None
        key = (page.room_id, page.user_id, page.thread_id, page.is_highlight)
        joined.setdefault(key, array("q")).extend(page.positions)
    touched: dict[RoomId, array[int]] = {}
    for (room_id, owner, thread_id, is_highlight), positions in joined.items():
        tally = tallies[room_id]
        if owner == REDACTED:
            touched[room_id] = positions
        elif owner == EVERYONE and not tally.is_loaded:
            tally.shared.put_before(thread_id, is_highlight, positions, tally.complete_after)
        elif owner == user_id and user_id not in tally.loaded_of:
            tally.places_of(user_id).put_before(thread_id, is_highlight, positions, tally.complete_after)
    for room_id, tally in tallies.items():
        tally.shared.order()
        tally.places_of(user_id).order()
        for position in touched.get(room_id, ()):
            tally.remove(position)
        tally.is_loaded = True
        tally.loaded_of.add(user_id)
        tally.reading(user_id).is_loaded = True


def _thread_at(tally: RoomTally, user_id: UserId, position: int) -> str:
    """The thread of the event at this place."""
    for places in (tally.shared, tally.personal.get(user_id)):
        for thread_id, found in places.notified.items() if places else ():
            if thread_id != MAIN and position in found:
                return thread_id
    return MAIN
