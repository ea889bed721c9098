"""Which rooms a sliding sync answer tells of, and what the client will have then. No waiting, no database."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from homeserver.core.identifiers import RoomId
from homeserver.storage.memberships import UserRoom
from homeserver.sync.sliding.connections import Sent, SentState, UnknownPosition
from homeserver.sync.sliding.request import RoomConfig, WantedState
from homeserver.sync.sliding.room_lists import UserLists, is_listed
from homeserver.sync.sliding.windows import Asked, Relevant

# The rest follows with the next answer, which is at once.
ROOMS_PER_ANSWER_MAX = 200
# Of a connection; more than any client asks for: then it is begun anew.
WANTED_STATES_MAX = 128
JOINED, OUT, WAITING = "join", frozenset({"leave", "ban"}), frozenset({"invite", "knock"})


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What happened since the client's position."""

    since: int
    changed: Collection[RoomId]  # rooms with new events
    read: Collection[RoomId]  # rooms where the user read on
    others: Collection[RoomId]  # rooms where something else happened that the client wants to know
    direct: frozenset[str]  # the user's direct chats now
    is_direct_new: bool  # whether these may have changed


@dataclass(frozen=True, slots=True)
class RoomPlan:
    """One room to tell of."""

    room_id: RoomId
    entry: UserRoom
    sent: Sent | None
    config: RoomConfig
    since: int  # 0: from the beginning
    has_longer_timeline: bool = False
    known_state: WantedState | None = None
    is_direct: bool | None = None  # where that changed

    @property
    def is_initial(self) -> bool:
        return self.since == 0


@dataclass(slots=True)
class SlidingPlan:
    """All rooms to tell of, and the changes to what the client has (room number → sent, None: no more)."""

    rooms: list[RoomPlan] = field(default_factory=list)
    changes: dict[int, Sent | None] = field(default_factory=dict)
    wanted: tuple[WantedState, ...] = ()
    is_cut: bool = False

    def want(self, state: WantedState) -> int:
        """The place of a wanted state among those of the connection. Raises UnknownPosition if there are too many."""
        if state in self.wanted:
            return self.wanted.index(state)
        if len(self.wanted) >= WANTED_STATES_MAX:
            raise UnknownPosition("this connection has asked for too many different things: begin without a position")
        self.wanted = (*self.wanted, state)
        return len(self.wanted) - 1


def leave_out(plan: SlidingPlan, left: RoomPlan) -> None:
    """A room of the plan that can't be read now: the client has no more of it than before, and gets it once it can."""
    plan.is_cut = True
    if left.sent is None or left.is_initial:
        plan.changes.pop(left.entry.room_nid, None)
    else:
        plan.changes[left.entry.room_nid] = replace(left.sent, upto=left.since)


def make_plan(known: UserLists, relevant: Relevant, state: SentState, news: News) -> SlidingPlan:
    """Raises UnknownPosition."""
    plan = SlidingPlan(wanted=state.wanted)
    changed = set(news.changed)
    _leave(plan, known, relevant, state, news)
    for room_id, asked in _candidates(known, relevant, state, news):
        entry = known.entries.get(room_id)
        if entry is None or not (is_listed(entry) or _is_asked_after(entry, asked)):
            continue
        found = _room(room_id, entry, asked, state, news, is_changed=room_id in changed or room_id in news.read)
        if found is None:
            continue
        if len(plan.rooms) >= ROOMS_PER_ANSWER_MAX:
            plan.is_cut = True
            continue
        plan.rooms.append(found)
        plan.changes[entry.room_nid] = _sent(plan, found, room_id in news.direct)
    _fall_behind(plan, known, state, news)
    return plan


def _candidates(known: UserLists, relevant: Relevant, state: SentState, news: News) -> Iterable[tuple[RoomId, Asked]]:
    """The rooms that may have to be told of: those asked for one by one, and of whole lists what changed."""
    yield from relevant.named.items()
    if not relevant.whole:
        return
    seen = set(relevant.named)
    moved: list[RoomId] = [*news.changed, *news.read]
    if news.is_direct_new:
        moved += [RoomId(room_id) for room_id in news.direct]
        moved += [room_id for room_id, entry in known.entries.items() if _was_direct(state, entry)]
    for room_id in moved:
        if room_id not in seen and (asked := relevant.find(room_id)) is not None:
            seen.add(room_id)
            yield room_id, asked


def _was_direct(state: SentState, entry: UserRoom) -> bool:
    sent = state.rooms.get(entry.room_nid)
    return sent is not None and sent.is_direct


def _room(
    room_id: RoomId, entry: UserRoom, asked: Asked, state: SentState, news: News, *, is_changed: bool
) -> RoomPlan | None:
    """What is to be told of a room, if anything."""
    sent, config, membership = state.rooms.get(entry.room_nid), asked.config, entry.membership
    if sent is None:
        return RoomPlan(room_id, entry, None, config, 0)
    since = sent.upto or news.since
    if membership in WAITING or (membership in OUT and sent.membership != JOINED):
        if sent.membership == membership and entry.event_nid <= since:
            return None
        return RoomPlan(room_id, entry, sent, config, 0)
    if sent.membership != JOINED:
        return RoomPlan(room_id, entry, sent, config, 0)
    if membership != JOINED:
        return RoomPlan(room_id, entry, sent, config, since)
    known_state = state.wanted[sent.wanted] if not state.wanted[sent.wanted].covers(config.state) else None
    has_longer_timeline = config.timeline_limit > sent.timeline_limit
    is_direct = room_id in news.direct if news.is_direct_new and (room_id in news.direct) != sent.is_direct else None
    if not (sent.upto or is_changed or known_state is not None or has_longer_timeline or is_direct is not None):
        return None
    return RoomPlan(room_id, entry, sent, config, since, has_longer_timeline, known_state, is_direct)


def _sent(plan: SlidingPlan, found: RoomPlan, is_direct: bool) -> Sent:
    before, config = found.sent, found.config
    if before is None or found.is_initial:
        return Sent(0, config.timeline_limit, plan.want(config.state), is_direct, found.entry.membership)
    limit = max(before.timeline_limit, config.timeline_limit)
    wanted = before.wanted
    if found.known_state is not None:
        wanted = plan.want(found.known_state.union(config.state))
    direct = before.is_direct if found.is_direct is None else found.is_direct
    return Sent(0, limit, wanted, direct, found.entry.membership)


def _is_asked_after(entry: UserRoom, asked: Asked | None) -> bool:
    """Whether a room that the user has left is asked for by its name: then it is shown as they left it."""
    return asked is not None and asked.is_subscribed and not entry.is_forgotten


def _leave(plan: SlidingPlan, known: UserLists, relevant: Relevant, state: SentState, news: News) -> None:
    """Rooms that the user has left by themselves are told of once more, wherever they are in a list."""
    for room_id in news.changed:
        entry = known.entries.get(room_id)
        if entry is None or is_listed(entry) or _is_asked_after(entry, relevant.named.get(room_id)):
            continue
        sent = state.rooms.get(entry.room_nid)
        if sent is None:
            continue
        config = RoomConfig(sent.timeline_limit, state.wanted[sent.wanted])
        since = (sent.upto or news.since) if sent.membership == JOINED else 0
        plan.rooms.append(RoomPlan(room_id, entry, sent, config, since))
        plan.changes[entry.room_nid] = None


def _fall_behind(plan: SlidingPlan, known: UserLists, state: SentState, news: News) -> None:
    """Rooms where something happened, and that the answer doesn't tell of: the client has them up to its position."""
    behind: Mapping[RoomId, None] = dict.fromkeys([*news.changed, *news.read, *news.others])
    for room_id in behind:
        entry = known.entries.get(room_id)
        if entry is None or entry.room_nid in plan.changes:
            continue
        sent = state.rooms.get(entry.room_nid)
        if sent is not None and not sent.upto and sent.membership == JOINED:
            plan.changes[entry.room_nid] = Sent(
                news.since, sent.timeline_limit, sent.wanted, sent.is_direct, sent.membership
            )
