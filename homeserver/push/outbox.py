"""What is to be delivered to whom: decided by the push rules, kept until a gateway has it.

`Unread` puts each event to the rules and tells this outbox; what it says is spread over the pushers a moment later,
outside of the writer's way. Only what isn't delivered when `Unread` moves its cursor is written down, in the same
transaction: so nothing is lost by a crash, and in good times nothing is written per notification.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.push_rules import Actions, EventView
from homeserver.journal.journal import Entry
from homeserver.push.asking import Asking
from homeserver.push.rulesets import PushRulesets
from homeserver.push.tallies import MAIN
from homeserver.rooms.building import Written
from homeserver.runtime.backoff import left_ms
from homeserver.runtime.clock import Clock
from homeserver.storage import pushers, pushes
from homeserver.storage.database import Database, Tx
from homeserver.storage.events import StoredEvent
from homeserver.storage.pushers import PusherRow
from homeserver.storage.pushes import PusherKey, PushRow
from homeserver.storage.unread import EVERYONE

# What waits for one pusher: past it the oldest go, and the badge still tells how much there is.
WAITING_MAX = 100
MAILBOXES_IDLE_MAX = 50_000
LOADED_MAX = 200_000
MEMBERS_AT_ONCE = 500
# The longest that a gateway, or an address for mails, is left alone.
REST_MS_MAX = 3_600_000
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Push:
    """An event that a user is to be notified of."""

    event_nid: int
    room_id: RoomId
    thread_id: str
    tweaks: Mapping[str, Any]
    decided_ts: int


@dataclass(slots=True, eq=False)
class Mailbox:
    """What waits for one pusher."""

    key: PusherKey
    row: PusherRow | None = None  # None: to be read before it is used
    waiting: OrderedDict[int, Push] = field(default_factory=OrderedDict)
    saved: set[int] = field(default_factory=set)  # those of `waiting` that are in the table
    badge_sent: int | None = None
    is_badge_due: bool = False
    is_busy: bool = False
    retry_ts: int = 0

    @property
    def has_work(self) -> bool:
        return bool(self.waiting) or self.is_badge_due

    def rests(self, now_ms: int) -> bool:
        """Whether its gateway is left alone."""
        return left_ms(self.retry_ts, now_ms, REST_MS_MAX) > 0


@dataclass(slots=True)
class _Decision:
    """What the rules say of one event: to those with the default rules, and to users of their own."""

    asking: Asking
    everyone: Actions | None = None
    personal: dict[UserId, Actions | None] = field(default_factory=dict)


class Outbox:
    """Mailboxes by pusher. Follows `Unread`; the postman empties it."""

    def __init__(self, db: Database, rulesets: PushRulesets, clock: Clock) -> None:
        self._db = db
        self._rulesets = rulesets
        self._clock = clock
        # Those who have, or lately had, a pusher.
        self._owners: set[UserId] = set()
        self._decisions: dict[int, _Decision] = {}
        self._invites: list[StoredEvent] = []
        self._readers: set[UserId] = set()  # whose badge may be another
        self._boxes: OrderedDict[PusherKey, Mailbox] = OrderedDict()
        self._keys: defaultdict[UserId, set[PusherKey]] = defaultdict(set)
        self._complete: set[UserId] = set()  # whose pushers all have a mailbox that knows its row
        self._unsaved: dict[tuple[PusherKey, int], None] = {}
        self._done: dict[tuple[PusherKey, int], None] = {}
        self._saving: tuple[list[tuple[PusherKey, int]], list[tuple[PusherKey, int]]] = ([], [])
        self._generation = 0
        self._news = asyncio.Event()
        self._settling = asyncio.Lock()
        self._ready: dict[PusherKey, Mailbox] = {}
        self._resting: dict[PusherKey, Mailbox] = {}  # their gateways failed lately

    async def start(self) -> None:
        """Reads who has pushers, and what an earlier run left. Before `Unread.start`, which catches up."""
        after = ""
        while page := await pushers.owners(self._db, after, _PAGE):
            self._owners.update(page)
            after = page[-1]
        async with self._db.transaction() as tx:
            await pushes.delete_orphans(tx)
        for row in await pushes.all_waiting(self._db, LOADED_MAX):
            box = self._box(row.key)
            push = Push(row.event_nid, row.room_id, row.thread_id, orjson.loads(row.tweaks), row.decided_ts)
            box.saved.add(row.event_nid)
            self._put(box, push)

    # --- told by Unread and the journal

    def note(self, asking: Asking, user_id: UserId, actions: Actions | None) -> None:
        if user_id not in self._owners and (user_id != EVERYONE or not self._owners):
            return
        decision = self._decisions.get(asking.position)
        if decision is None:
            decision = self._decisions[asking.position] = _Decision(asking)
        if user_id == EVERYONE:
            decision.everyone = actions
        else:
            decision.personal[user_id] = actions
        self._news.set()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: who got or lost pushers, and who has read something."""
        for entry in entries:
            if entry.kind == "pushers":
                self._owners.update(entry.user_ids)
                self.forget_rows(entry.user_ids)
            elif entry.kind == "device_list":
                self.forget_rows(entry.user_ids)
            elif entry.kind == "receipt" and isinstance(entry.payload, tuple):
                self._read(receipt.user_id for receipt in entry.payload)
            elif entry.kind == "membership" and isinstance(entry.payload, StoredEvent):
                self._invited(entry.payload)
            elif isinstance(entry.payload, Written) and entry.payload.event.state_key is None:
                # Who sends has read the room.
                self._read([entry.payload.event.sender])

    def forget_rows(self, user_ids: Iterable[UserId]) -> None:
        """Has the pushers of these users read again before anything more is sent to them."""
        self._generation += 1
        for user_id in user_ids:
            self._complete.discard(user_id)
            for key in self._keys.get(user_id, ()):
                self._boxes[key].row = None

    def _read(self, user_ids: Iterable[UserId]) -> None:
        for user_id in user_ids:
            if user_id in self._owners:
                self._readers.add(user_id)

    def _invited(self, stored: StoredEvent) -> None:
        """An invite into a room that this server isn't in, so that no rule was asked about it yet."""
        if stored.event.membership == "invite" and stored.event.state_key in self._owners:
            self._invites.append(stored)
            self._news.set()

    # --- saving, with the cursor of Unread

    async def settle(self) -> bool:
        """Spreads what was decided over the pushers: one query for those of all users concerned."""
        async with self._settling:
            while self._decisions or self._invites:
                while self._invites:
                    await self._spread_invite(self._invites.pop(0))
                decisions, self._decisions = self._decisions, {}
                try:
                    await self._spread(list(decisions.values()))
                except BaseException:
                    self._decisions = {**decisions, **self._decisions}
                    raise
            return bool(self._unsaved or self._done)

    async def save(self, tx: Tx) -> None:
        unsaved, done = list(self._unsaved), list(self._done)
        rows = [row for key, nid in unsaved if (row := self._row(key, nid)) is not None]
        if rows:
            await pushes.insert(tx, rows)
        if done:
            await pushes.delete(tx, done)
        self._saving = ([(row.key, row.event_nid) for row in rows], done)

    def saved(self) -> None:
        inserted, deleted = self._saving
        self._saving = ([], [])
        for place in deleted:
            self._done.pop(place, None)
        for key, nid in inserted:
            self._unsaved.pop((key, nid), None)
            box = self._boxes.get(key)
            if box is not None and nid in box.waiting:
                box.saved.add(nid)
            else:  # delivered while it was being written
                self._done[key, nid] = None

    def _row(self, key: PusherKey, nid: int) -> PushRow | None:
        box = self._boxes.get(key)
        push = box.waiting.get(nid) if box is not None else None
        if push is None:
            return None
        tweaks = orjson.dumps(dict(push.tweaks))
        return PushRow(
            key=key,
            event_nid=nid,
            room_id=push.room_id,
            thread_id=push.thread_id,
            tweaks=tweaks,
            decided_ts=push.decided_ts,
        )

    # --- the postman's side

    async def news(self) -> None:
        """Waits until something was decided."""
        await self._news.wait()
        self._news.clear()

    async def take_readers(self) -> None:
        """Marks the badges of those who have read something as due."""
        readers, self._readers = self._readers, set()
        if not readers:
            return
        async with self._settling:
            for row, is_fresh in await self._rows_of(readers):
                box = self._box(_key(row))
                self._refresh(box, row if is_fresh else None)
                box.is_badge_due = True
                self._ready[box.key] = box

    def take_ready(self, now_ms: int) -> list[Mailbox]:
        """The mailboxes that have work, are not being emptied and whose gateway need not be left alone."""
        ready, self._ready = self._ready, {}
        found = []
        for box in ready.values():
            if box.rests(now_ms):
                self._resting[box.key] = box
            elif box.has_work and not box.is_busy:
                box.is_busy = True
                found.append(box)
        return found

    def wake(self, now_ms: int) -> None:
        """Makes those ready whose gateway was left alone for long enough. Call it now and then."""
        due = [box for box in self._resting.values() if not box.rests(now_ms)]
        for box in due:
            del self._resting[box.key]
            self._ready[box.key] = box

    def put_back(self, box: Mailbox) -> None:
        """Told when a mailbox is no longer being emptied."""
        box.is_busy = False
        if box.has_work:
            self._ready[box.key] = box
        while len(self._boxes) > MAILBOXES_IDLE_MAX:
            oldest = next(iter(self._boxes.values()))
            if oldest.has_work or oldest.is_busy:
                break
            self._drop(oldest)

    def finish(self, box: Mailbox, nid: int) -> None:
        """This one is delivered, or needs no delivery any more."""
        box.waiting.pop(nid, None)
        self._unsaved.pop((box.key, nid), None)
        if nid in box.saved:
            box.saved.discard(nid)
            self._done[box.key, nid] = None

    def remove(self, box: Mailbox) -> None:
        """The pusher is gone, and all that waits for it."""
        for nid in list(box.waiting):
            self.finish(box, nid)
        box.is_badge_due = False
        self._drop(box)

    # --- inside

    async def _spread(self, decisions: Sequence[_Decision]) -> None:
        wanted: list[tuple[_Decision, dict[UserId, Actions]]] = []
        for decision in decisions:
            notified = await self._notified(decision)
            if notified:
                wanted.append((decision, notified))
        if not wanted:
            return
        rows: defaultdict[UserId, list[tuple[PusherRow, bool]]] = defaultdict(list)
        for row, is_fresh in await self._rows_of({user_id for _, notified in wanted for user_id in notified}):
            rows[row.user_id].append((row, is_fresh))
        now = self._clock.now_ms()
        for decision, notified in wanted:
            asking = decision.asking
            for user_id, actions in notified.items():
                push = Push(asking.nid, asking.room.room_id, asking.thread_id, _tweaks(actions), now)
                for row, is_fresh in rows[user_id]:
                    self._post(row if is_fresh else None, _key(row), push)

    async def _spread_invite(self, stored: StoredEvent) -> None:
        event, user_id = stored.event, UserId(stored.event.state_key or "")
        if self._rulesets.ignores(user_id, event.sender):
            return
        rules = (await self._rulesets.compile_many([user_id]))[user_id]
        actions = rules.actions(
            EventView.of(event), user_id=user_id, display_name=None, member_count=0, sender_power=0, power_levels=None
        )
        if actions is not None and actions.notify:
            push = Push(stored.nid, event.room_id, MAIN, _tweaks(actions), self._clock.now_ms())
            for row, is_fresh in await self._rows_of([user_id]):
                self._post(row if is_fresh else None, _key(row), push)

    def _post(self, row: PusherRow | None, key: PusherKey, push: Push) -> None:
        box = self._box(key)
        self._refresh(box, row)
        self._unsaved[key, push.event_nid] = None
        self._put(box, push)

    async def _notified(self, decision: _Decision) -> dict[UserId, Actions]:
        """Who among those with pushers is notified."""
        personal = decision.personal
        found = {user_id: actions for user_id, actions in personal.items() if actions is not None and actions.notify}
        everyone = decision.everyone
        if everyone is None:
            return found
        room, sender, custom = decision.asking.room, decision.asking.event.sender, self._rulesets.custom
        is_few = len(self._owners) < len(room.members)
        for number, user_id in enumerate(list(self._owners) if is_few else list(room.members)):
            if (
                user_id in self._owners
                and room.members.get(user_id) == "join"
                and user_id != sender
                and user_id not in custom
                and user_id not in personal
            ):
                found[user_id] = everyone
            if number % MEMBERS_AT_ONCE == MEMBERS_AT_ONCE - 1:
                await self._clock.sleep(0)
        return found

    async def _rows_of(self, user_ids: Iterable[UserId]) -> list[tuple[PusherRow, bool]]:
        """The pushers of these users, and whether nothing has changed since they were read. Forgets who has none.

        No query for those whose pushers are known.
        """
        asked = set(user_ids)
        known = asked & self._complete
        boxes = [self._boxes[key] for user_id in known for key in self._keys.get(user_id, ())]
        found = [(box.row, True) for box in boxes if box.row is not None]
        if missing := asked - known:
            generation = self._generation
            rows = await pushers.enabled_of_users(self._db, missing)
            is_fresh = generation == self._generation
            if is_fresh:
                owners = {row.user_id for row in rows}
                self._owners -= missing - owners
                for row in rows:
                    self._refresh(self._box(_key(row)), row)
                self._complete |= owners
            else:
                # Of the others too: what was found of them may be what has changed.
                found = [(row, False) for row, _ in found]
            found.extend((row, is_fresh) for row in rows)
        return found

    def _box(self, key: PusherKey) -> Mailbox:
        box = self._boxes.get(key)
        if box is None:
            box = self._boxes[key] = Mailbox(key)
            self._keys[key.user_id].add(key)
        self._boxes.move_to_end(key)
        return box

    def _refresh(self, box: Mailbox, row: PusherRow | None) -> None:
        if row is not None and row is not box.row:
            box.retry_ts = row.retry_ts
        box.row = row

    def _put(self, box: Mailbox, push: Push) -> None:
        box.waiting[push.event_nid] = push
        if len(box.waiting) > WAITING_MAX:
            self.finish(box, next(iter(box.waiting)))
        self._ready[box.key] = box

    def _drop(self, box: Mailbox) -> None:
        self._boxes.pop(box.key, None)
        self._complete.discard(box.key.user_id)
        self._ready.pop(box.key, None)
        self._resting.pop(box.key, None)
        keys = self._keys.get(box.key.user_id)
        if keys is not None:
            keys.discard(box.key)
            if not keys:
                del self._keys[box.key.user_id]


def _key(row: PusherRow) -> PusherKey:
    return PusherKey(row.user_id, row.app_id, row.pushkey)


def _tweaks(actions: Actions) -> dict[str, Any]:
    """spec: client-server-api/#actions"""
    tweaks = {
        action["set_tweak"]: action.get("value", True) for action in actions.actions if isinstance(action, Mapping)
    }
    return {name: value for name, value in tweaks.items() if value is not False}
