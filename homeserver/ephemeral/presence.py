"""Who is online: kept in memory, told once a tick to those who share a room and sync now.

spec: client-server-api/#presence

Cost: a sync adds no query unless somebody's presence changed; a tick makes one query and one journal position for all
changes together, so however many users come and go, each syncing client is woken once a tick.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeGuard

from homeserver.core.errors import Forbidden, InvalidParam
from homeserver.core.identifiers import ServerName, UserId, domain_of
from homeserver.ephemeral.presence_places import Places
from homeserver.ephemeral.presence_turns import Turns
from homeserver.journal.journal import Entry, Journal
from homeserver.runtime.clock import Clock
from homeserver.storage import presence as table
from homeserver.storage.database import Database
from homeserver.storage.presence import PresenceRow

ONLINE, UNAVAILABLE, OFFLINE = "online", "unavailable", "offline"
STATES = (ONLINE, UNAVAILABLE, OFFLINE)
STATUS_BYTES_MAX = 512
# How recent the last activity is while a user counts as currently active; then no further updates are sent.
ACTIVE_S = 60.0
USERS_MAX = 50_000
# At most so many changed users are told in a tick, to at most so many syncing ones.
CHANGED_PER_TICK_MAX = 500
WOKEN_PER_TICK_MAX = 5_000
TICK_S = 1.0
# What another server says of a user is believed for so long, and said again before that is over: by us too.
TOLD_LASTS_S = 1_800.0
SAID_AGAIN_AFTER_S = 1_500.0
# More users of other servers than this are not shown as online (see `presence_places`), and of one server so many.
TOLD_MAX = 50_000
TOLD_OF_SERVER_MAX = 10_000
_USERS_AT_ONCE = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class PresenceTimes:
    """Whether there is presence at all, and after how long users count as away."""

    enabled: bool = True
    idle_after_s: float = 300.0
    offline_after_s: float = 60.0


class Sharing(Protocol):
    """Who shares a room with whom. Implemented by rooms.residents."""

    async def share_room(self, user_id: UserId, other: UserId) -> bool: ...


@dataclass(slots=True)
class _User:
    state: str = OFFLINE
    status_msg: str | None = None
    last_active_ms: int = 0
    active_until_s: float = 0.0
    idle_at_s: float = 0.0
    offline_at_s: float = 0.0
    told_active: bool = False
    position: int = 0
    said_at_s: float = 0.0
    is_elsewhere: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a user's own server says of the user. `active_ago_ms`: since the user did something last."""

    user_id: UserId
    state: str
    status_msg: str | None = None
    active_ago_ms: int | None = None
    is_active: bool = False


class Presence:
    """States of users, set by hand or by what they do."""

    def __init__(self, db: Database, journal: Journal, sharing: Sharing, clock: Clock, times: PresenceTimes) -> None:
        self._db = db
        self._journal = journal
        self._sharing = sharing
        self._clock = clock
        self._times = times
        self._users: OrderedDict[UserId, _User] = OrderedDict()
        self._online: dict[UserId, None] = {}  # everyone who isn't offline
        self._here: dict[UserId, None] = {}  # of those, users of ours; and the others
        self._elsewhere = Places()
        self._dirty = Turns()
        self._told: OrderedDict[UserId, int] = OrderedDict()  # position of the last change told, the newest last
        # What was told up to here may no longer be in `_told`.
        self._told_after = 0

    # --- what users do

    async def set(self, user_id: UserId, state: str, status_msg: str | None = None) -> None:
        """Sets it by hand. Raises InvalidParam for an unknown state or a status message that is too long."""
        if state not in STATES:
            raise InvalidParam(f"presence must be one of {', '.join(STATES)}")
        if status_msg is not None and not is_status(status_msg):
            raise InvalidParam(f"status_msg may have {STATUS_BYTES_MAX} bytes, and no NUL")
        if not self._times.enabled:
            return
        user = await self._known(user_id)
        if status_msg != user.status_msg:
            user.status_msg = status_msg
            self._changed(user_id, user)
            await table.upsert(self._db, PresenceRow(user_id, status_msg, self._clock.now_ms()))
        user.offline_at_s = self._clock.monotonic_s() + self._times.offline_after_s
        if state == ONLINE:
            self._bump(user_id, user)
        self._enter(user_id, user, state)

    async def told(self, said: Sequence[Told], server: ServerName) -> None:
        """Takes what another server says of its users: of those who share a room with ours, whom `server` is the
        domain of. Kept in memory alone. One query."""
        if not self._times.enabled or not said:
            return
        shared = await table.sharing_with_server(self._db, {one.user_id for one in said}, server)
        now, now_ms = self._clock.monotonic_s(), self._clock.now_ms()
        for one in said:
            if one.user_id not in shared:
                continue
            if one.state != OFFLINE and one.user_id not in self._online and not self._make_room(domain_of(one.user_id)):
                continue
            user = self._users.setdefault(one.user_id, _User())
            self._users.move_to_end(one.user_id)
            user.is_elsewhere = True
            user.idle_at_s = user.offline_at_s = now + TOLD_LASTS_S
            active_until_s = now + TOLD_LASTS_S if one.is_active else 0.0
            if one.status_msg != user.status_msg or (active_until_s > now) != (user.active_until_s > now):
                self._changed(one.user_id, user)
            user.status_msg, user.active_until_s = one.status_msg, active_until_s
            if one.active_ago_ms is not None:
                user.last_active_ms = max(0, now_ms - one.active_ago_ms)
            self._enter(one.user_id, user, one.state)
            if one.user_id in self._online:
                self._elsewhere.told(one.user_id)

    async def seen(self, user_id: UserId, state: str, for_s: float = 0.0) -> None:
        """Notes a /sync with this `set_presence`; `for_s` is how long it may go on waiting. `offline` notes nothing."""
        if not self._times.enabled or state not in (ONLINE, UNAVAILABLE):
            return
        user = self._users.get(user_id) or await self._known(user_id)
        now = self._clock.monotonic_s()
        user.offline_at_s = max(user.offline_at_s, now + for_s + self._times.offline_after_s)
        if state == UNAVAILABLE:
            self._enter(user_id, user, UNAVAILABLE)
        elif user.state == OFFLINE:
            self._bump(user_id, user)
            self._enter(user_id, user, ONLINE)

    def active(self, user_id: UserId) -> None:
        """Notes that a user who is connected did something: sent an event, a receipt, a typing notice."""
        user = self._users.get(user_id)
        if user is None or user.state == OFFLINE:
            return
        if user.is_elsewhere:
            # When the user is away is for the user's own server to say.
            user.last_active_ms = self._clock.now_ms()
            return
        self._bump(user_id, user)
        if user.state == UNAVAILABLE:
            self._enter(user_id, user, ONLINE)

    # --- what others see

    async def get(self, user_id: UserId, viewer: UserId) -> dict[str, Any]:
        """A user's presence. Raises Forbidden, for unknown users too, unless the two share a room."""
        if user_id != viewer and not await self._sharing.share_room(viewer, user_id):
            raise Forbidden("you are not allowed to see this user's presence")
        if not self._times.enabled:
            return {"presence": OFFLINE}
        return self._content(await self._known(user_id))

    async def changes(
        self, user_id: UserId, since: int, upto: int, newcomers: Collection[UserId] = ()
    ) -> list[dict[str, Any]]:
        """`m.presence` events of what was told in (since, upto] about the user and those who share a room.

        With since=0: of everyone of them who isn't offline; of `newcomers`, who came to share one since, too.
        At most one query, none if nothing changed.
        """
        if not self._times.enabled:
            return []
        if since == 0 or since < self._told_after:
            candidates = list(self._online)
        else:
            candidates = []
            for changed, position in reversed(self._told.items()):
                if position <= since:
                    break
                if position <= upto:
                    candidates.append(changed)
            known = set(candidates)
            candidates += [who for who in newcomers if who in self._online and who not in known]
        others = [candidate for candidate in candidates if candidate != user_id]
        shown = await table.sharing_among(self._db, [user_id], others) if others else set()
        return [
            {"type": "m.presence", "sender": who, "content": self._content(user)}
            for who in candidates
            if (who in shown or who == user_id) and (user := self._users.get(who)) is not None
        ]

    def events_of(self, user_ids: Collection[UserId]) -> list[dict[str, Any]]:
        """`m.presence` events of those of these users who were here since the server started."""
        known = ((user_id, self._users.get(user_id)) for user_id in user_ids)
        return [
            {"type": "m.presence", "sender": user_id, "content": self._content(user)}
            for user_id, user in known
            if user is not None
        ]

    # --- time

    async def run(self) -> None:
        """One round of a background task: waits a tick, then looks who went idle or offline, and tells changes."""
        await self._clock.sleep(TICK_S)
        await self.tick()

    async def tick(self) -> None:
        if not self._told_after:
            self._told_after = self._journal.visible  # what earlier processes told is not known here
        now = self._clock.monotonic_s()
        for count, user_id in enumerate(list(self._online), start=1):
            user = self._users[user_id]
            if count % _USERS_AT_ONCE == 0:
                await self._clock.sleep(0)
            if user.offline_at_s <= now:
                self._enter(user_id, user, OFFLINE)
            elif user.state == ONLINE and user.idle_at_s <= now:
                self._enter(user_id, user, UNAVAILABLE)
            elif user.told_active and user.active_until_s <= now:
                user.told_active = False
                self._changed(user_id, user)
            elif not user.is_elsewhere and user.said_at_s + SAID_AGAIN_AFTER_S <= now:
                self._changed(user_id, user)
        changed = self._dirty.take(CHANGED_PER_TICK_MAX)
        if changed:
            await self._tell(changed)
        self._forget_old()

    def hear(self, entries: Sequence[Entry]) -> None:
        """A journal listener: who sends an event or a public receipt is active (a private one must tell nobody)."""
        for entry in entries:
            if entry.kind == "event":
                self.active(entry.payload.event.sender)
            elif entry.kind == "receipt" and entry.room_id is not None:
                for user_id in entry.user_ids:
                    self.active(user_id)
            elif entry.kind == "account":
                for user_id in entry.user_ids:
                    self._forget(user_id)

    def _forget(self, user_id: UserId) -> None:
        """The account has ended."""
        user = self._users.get(user_id)
        if user is not None:
            user.status_msg, user.last_active_ms = None, 0
            self._enter(user_id, user, OFFLINE)

    async def _tell(self, changed: Collection[UserId]) -> None:
        listening = list(self._here)[-WOKEN_PER_TICK_MAX:]
        concerned = await table.sharing_among(self._db, changed, listening) if listening else set()
        position = await self._journal.open()
        for user_id in changed:
            user = self._users.get(user_id)
            if user is not None:
                user.position = position
                user.said_at_s = self._clock.monotonic_s()
                user.told_active = user.state == ONLINE and user.active_until_s > self._clock.monotonic_s()
            self._told[user_id] = position
            self._told.move_to_end(user_id)
        while len(self._told) > USERS_MAX:
            self._told_after = self._told.popitem(last=False)[1]
        woken = tuple(concerned.union(user_id for user_id in changed if user_id in self._online))
        self._journal.close(position, [Entry(position, "presence", None, woken, tuple(changed))])

    # --- inside

    async def _known(self, user_id: UserId) -> _User:
        user = self._users.get(user_id)
        if user is None:
            row = (await table.by_users(self._db, [user_id])).get(user_id)
            user = self._users.get(user_id) or _User()
            if row is not None:
                user.status_msg, user.last_active_ms = row.status_msg, max(row.last_active_ms, user.last_active_ms)
            self._users[user_id] = user
        self._users.move_to_end(user_id)
        return user

    def _bump(self, user_id: UserId, user: _User) -> None:
        now = self._clock.monotonic_s()
        user.last_active_ms = self._clock.now_ms()
        user.idle_at_s = now + self._times.idle_after_s
        user.active_until_s = now + ACTIVE_S
        if not user.told_active and user.state == ONLINE:
            self._changed(user_id, user)

    def _enter(self, user_id: UserId, user: _User, state: str) -> None:
        if user.state == state:
            return
        before, user.state = user.state, state
        self._changed(user_id, user)
        if OFFLINE not in (before, state):
            return
        for online in (self._online,) if user.is_elsewhere else (self._online, self._here):
            if state == OFFLINE:
                online.pop(user_id, None)
            else:
                online[user_id] = None
        if state == OFFLINE:
            self._elsewhere.gone(user_id)

    def _changed(self, user_id: UserId, user: _User) -> None:
        self._dirty.add(user_id, is_elsewhere=user.is_elsewhere)

    def _make_room(self, server: ServerName) -> bool:
        """Whether one more user of another server can be shown as online."""
        if self._elsewhere.count(server) >= TOLD_OF_SERVER_MAX:
            return False
        if self._elsewhere.total < TOLD_MAX:
            return True
        loser = self._elsewhere.first_to_go(server)
        if loser is None:
            return False
        self._enter(loser, self._users[loser], OFFLINE)
        return True

    def _content(self, user: _User) -> dict[str, Any]:
        content: dict[str, Any] = {"presence": user.state}
        if user.last_active_ms:
            content["last_active_ago"] = max(0, self._clock.now_ms() - user.last_active_ms)
        if user.status_msg is not None:
            content["status_msg"] = user.status_msg
        if user.state == ONLINE:
            content["currently_active"] = user.active_until_s > self._clock.monotonic_s()
        return content

    def _forget_old(self) -> None:
        for user_id in list(self._users)[: max(0, len(self._users) - USERS_MAX)]:
            if user_id not in self._online and user_id not in self._dirty:
                del self._users[user_id]


def is_status(value: object) -> TypeGuard[str]:
    """Whether this can be a status message."""
    return isinstance(value, str) and len(value.encode()) <= STATUS_BYTES_MAX and "\x00" not in value
