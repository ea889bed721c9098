"""What a sliding sync answer says of each room: its timeline, its state, its name and its counts."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from homeserver.core.events import StateKey
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.client_events import Viewer, stripped
from homeserver.rooms.history import FIRST_PLACE
from homeserver.rooms.places import place_token
from homeserver.rooms.residents import Room
from homeserver.storage import events, forks
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import UserRoom
from homeserver.sync.hub import SyncHub
from homeserver.sync.kept_out import is_kept_back
from homeserver.sync.room_sections import STRIPPED_TYPES
from homeserver.sync.sliding.members_told import MembersTold, Place
from homeserver.sync.sliding.request import MEMBER, RoomConfig, WantedState
from homeserver.sync.sources import Sources
from homeserver.sync.summaries import heroes_of
from homeserver.sync.timelines import RoomReads

NAME: StateKey = ("m.room.name", "")
AVATAR: StateKey = ("m.room.avatar", "")


@dataclass(slots=True, kw_only=True)
class Wish:
    """One room to tell of, from after `since` to `upto`; and what becomes of it on the way."""

    room: Room
    entry: UserRoom
    config: RoomConfig
    since: int
    upto: int
    live_after: int  # the client's position: what came after it is live
    is_initial: bool
    has_longer_timeline: bool = False
    known_state: WantedState | None = None  # what was sent of the state before; None: the wish has not grown
    events: list[StoredEvent] = field(default_factory=list)
    is_limited: bool = False
    start: int = 0
    changed: dict[StateKey, int] = field(default_factory=dict)
    state_nids: list[int] = field(default_factory=list)
    unset: list[dict[str, str]] = field(default_factory=list)  # state that is no more

    @property
    def is_inside(self) -> bool:
        return self.entry.membership == "join"

    @property
    def reads_back(self) -> bool:
        """Whether the timeline goes back beyond what was sent."""
        return self.is_initial or self.has_longer_timeline


class SlidingRooms:
    """Builds many rooms' answers at once: a handful of queries, none for what memory has."""

    def __init__(self, reads: RoomReads, hub: SyncHub, sources: Sources) -> None:
        self._reads = reads
        self._hub = hub
        self._sources = sources
        self._told = MembersTold()

    async def build(
        self,
        viewer: Viewer,
        place: Place,
        wishes: Sequence[Wish],
        direct: frozenset[str],
        ignored: Collection[str] = (),
    ) -> dict[RoomId, dict[str, Any]]:
        """Room → answer. What `ignored` users say is left out; their state stays, or the room would be wrong."""
        await self._timelines(viewer.user_id, wishes)
        if ignored:
            for wish in wishes:
                wish.events = [e for e in wish.events if e.event.is_state or e.event.sender not in ignored]
        await self._changes(wishes)
        full = await self._full_states(wishes)
        heroes = {id(wish): self._heroes(viewer.user_id, wish) for wish in wishes}
        await self._choose_states(viewer.user_id, place, wishes, full)
        members = await self._member_events(wishes, full, heroes)
        named = await self._named(wishes, full)
        stored = await self._reads.store.by_nids({nid for wish in wishes for nid in wish.state_nids})
        states = [[stored[nid] for nid in wish.state_nids if nid in stored] for wish in wishes]
        flat = [event for wish, state in zip(wishes, states, strict=True) for event in (*wish.events, *state)]
        rendered = await self._reads.client_events.render(
            flat, viewer, with_room_id=False, membership=await self._memberships(viewer.user_id, wishes)
        )
        counts = await self._sources.unread.counts(
            viewer.user_id, [wish.room.room_id for wish in wishes if wish.is_inside]
        )
        found: dict[RoomId, dict[str, Any]] = {}
        at = 0
        for wish, state in zip(wishes, states, strict=True):
            room_id = wish.room.room_id
            timeline = rendered[at : at + len(wish.events)]
            at += len(wish.events) + len(state)
            answer = self._frame(wish, timeline, rendered[at - len(state) : at])
            answer.update(named[id(wish)])
            answer.update(_people(wish, heroes[id(wish)], members))
            count = counts.get(room_id)
            answer["notification_count"] = count.notifications if count else 0
            answer["highlight_count"] = count.highlights if count else 0
            if wish.is_initial and room_id in direct:
                answer["is_dm"] = True
            found[room_id] = answer
        return found

    async def stripped(
        self, waiting: Sequence[tuple[Room | None, UserRoom]], ignored: Container[object] = ()
    ) -> dict[RoomId, dict[str, Any]]:
        """Rooms that the viewer is invited to or knocks at, as far as they may be known from outside.

        Of a room on other servers, what was told with the invite.
        """
        stored = await self._reads.store.by_nids([entry.event_nid for _, entry in waiting])
        foreign = [nid for nid, member in stored.items() if not member.is_shown]
        told = await forks.stripped(self._reads.db, foreign) if foreign else {}
        found: dict[RoomId, dict[str, Any]] = {}
        for room, entry in waiting:
            member = stored.get(entry.event_nid)
            if member is None or is_kept_back(member, ignored):
                continue
            if room is None or entry.event_nid in told:
                shown: list[Any] = [*told.get(entry.event_nid, ()), stripped(member.event)]
            else:
                known = [room.known_state(kind) for kind in STRIPPED_TYPES]
                shown = [stripped(event) for event in (*known, member.event) if event is not None]
            found[entry.room_id] = {"initial": True, "invite_state": shown}
        return found

    async def gone(self, viewer: Viewer, gone: Sequence[UserRoom]) -> dict[RoomId, dict[str, Any]]:
        """Rooms that the viewer was never in, and is no longer invited to: that alone."""
        stored = await self._reads.store.by_nids([entry.event_nid for entry in gone])
        known = [(entry.room_id, stored[entry.event_nid]) for entry in gone if entry.event_nid in stored]
        render = self._reads.client_events.render
        rendered = await render([member for _, member in known], viewer, with_room_id=False, membership="leave")
        return {
            room_id: {"initial": True, "required_state": [member], "timeline": [member], "limited": False}
            for (room_id, _), member in zip(known, rendered, strict=True)
        }

    # --- timelines

    async def _timelines(self, viewer: UserId, wishes: Sequence[Wish]) -> None:
        recent = [
            None if wish.reads_back else self._hub.recent(wish.room.room_id, wish.since, wish.upto) for wish in wishes
        ]
        missing = [wish for wish, known in zip(wishes, recent, strict=True) if known is None]
        read: Mapping[int, list[int]] = {}
        most = 0
        if missing:
            spans = {wish.room.nid: (FIRST_PLACE if wish.reads_back else wish.since, wish.upto) for wish in missing}
            most = max(wish.config.timeline_limit for wish in missing) + 1
            read = await events.windows(self._reads.db, spans, limit=most)
        stored = await self._reads.store.by_nids({nid for nids in read.values() for nid in nids})
        strange = [wish.room for wish in wishes if not self._is_steady(wish)]
        if strange:
            await self._reads.gate.timelines(viewer, strange)
        for wish, known in zip(wishes, recent, strict=True):
            found = known if known is not None else [stored[nid] for nid in read[wish.room.nid] if nid in stored]
            await self._cut(viewer, wish, found, is_whole=known is not None or len(found) < most)

    def _is_steady(self, wish: Wish) -> bool:
        """Joined at `since` and ever after: then all that happened is theirs to see."""
        return wish.is_inside and not wish.reads_back and wish.entry.event_nid <= wish.since

    async def _cut(self, viewer: UserId, wish: Wish, found: list[StoredEvent], *, is_whole: bool) -> None:
        """The newest of what the viewer may see; and the state that was set, where all that happened is at hand."""
        limit = wish.config.timeline_limit
        shown = [stored for stored in found if stored.is_for_people and (stored.ordering or 0) <= wish.upto]
        if not self._is_steady(wish):
            seen = {stored.nid: stored for stored in await self._reads.gate.filter(viewer, wish.room, found)}
            # What concerns the viewer's own membership is always told.
            shown = [
                seen.get(stored.nid, stored)
                for stored in shown
                if stored.nid in seen or (stored.event.state_key == viewer and stored.event.type == MEMBER)
            ]
        wish.is_limited = len(shown) > limit or not is_whole
        wish.events = shown[len(shown) - limit :] if len(shown) > limit else shown
        if wish.events:
            wish.start = wish.events[0].ordering or 0
        else:
            wish.start = wish.upto + 1
        if not wish.is_initial and not wish.is_limited:
            wish.changed = {
                stored.event.key: stored.nid
                for stored in found
                if stored.event.is_state and (stored.ordering or 0) > wish.since
            }

    # --- state

    async def _changes(self, wishes: Sequence[Wish]) -> None:
        """What changed in rooms whose timeline doesn't tell: it has gaps, or a state met another. One query."""
        asked = [wish for wish in wishes if not wish.is_initial and (wish.is_limited or self._may_have_jumped(wish))]
        if not asked:
            return
        changes = await events.state_changes(self._reads.db, {wish.room.nid: (wish.since, wish.upto) for wish in asked})
        keys = await self._reads.numbers.keys_of({number for found in changes.values() for number in found})
        for wish in asked:
            wish.changed = {keys[number]: nid for number, nid in changes[wish.room.nid].items()}

    def _may_have_jumped(self, wish: Wish) -> bool:
        return wish.since < self._hub.start or self._hub.jump_last(wish.room.room_id) > wish.since

    async def _full_states(self, wishes: Sequence[Wish]) -> dict[int, Mapping[int, int]]:
        """Room number → its state as it is for the viewer: now, or as they left it."""
        rooms = self._reads.rooms
        found: dict[int, Mapping[int, int]] = {}
        inside = {wish.room.nid: wish.room.line for wish in wishes if wish.is_inside}
        maps = await rooms.maps_of_lines(inside.values())
        found.update((nid, maps[line.nid]) for nid, line in inside.items())
        left = {wish.room.nid: wish.entry.event_nid for wish in wishes if not wish.is_inside}
        past = await rooms.maps(set(left.values())) if left else {}
        found.update((nid, past.get(state_nid, {})) for nid, state_nid in left.items())
        return found

    async def _choose_states(
        self, viewer: UserId, place: Place, wishes: Sequence[Wish], full: Mapping[int, Mapping[int, int]]
    ) -> None:
        """Which state events each wish tells: all that is wanted, or what of it changed, and members as needed."""
        numbers = self._reads.numbers
        searched = [w for w in wishes if w.is_initial or w.known_state is not None or _lacks_members(w)]
        wanting = {id(wish) for wish in searched}
        exact = {key for wish in searched for key in wish.config.state.exact()}
        needed = {id(wish): self._members_needed(viewer, wish) for wish in wishes}
        lazy: set[StateKey] = {(MEMBER, user_id) for users in needed.values() for user_id in users}
        found = await numbers.find(exact | lazy)
        wild = {number for wish in searched if wish.config.state.has_wildcard for number in full[wish.room.nid]}
        keys = await numbers.keys_of(wild) if wild else {}
        for wish in wishes:
            state, wanted = full[wish.room.nid], wish.config.state
            chosen: dict[int, None] = {}  # in order, each once
            if id(wish) in wanting:
                chosen.update(dict.fromkeys(_matching(wish, state, found, keys)))
            for (kind, key), nid in wish.changed.items():
                if wanted.wants(kind, key) or (wanted.is_lazy and kind == MEMBER and not wish.is_limited):
                    if nid:
                        chosen[nid] = None
                    else:
                        wish.unset.append({"type": kind, "state_key": key})
            members = {
                user_id: state[number]
                for user_id in needed[id(wish)]
                if (number := found.get((MEMBER, user_id))) is not None and number in state
            }
            for nid in self._told.missing(place, wish.room.nid, members, since=wish.since, upto=wish.upto):
                chosen[nid] = None
            wish.state_nids = list(chosen)

    def _members_needed(self, viewer: UserId, wish: Wish) -> set[UserId]:
        """Those whom a client must know to show the timeline. spec: client-server-api/#lazy-loading-room-members"""
        if not wish.config.state.is_lazy:
            return set()
        users = {stored.event.sender for stored in wish.events}
        users |= {UserId(stored.event.state_key or "") for stored in wish.events if stored.event.type == MEMBER}
        if wish.is_initial:
            users.add(viewer)
        return users

    # --- what rooms are called, and who is in them

    def _heroes(self, viewer: UserId, wish: Wish) -> list[UserId]:
        is_wanted = wish.is_initial or NAME in wish.changed or _has_moved(wish)
        if not is_wanted or not wish.is_inside or wish.room.known_text("m.room.name", "name"):
            return []
        return heroes_of(wish.room, viewer)

    async def _member_events(
        self, wishes: Sequence[Wish], full: Mapping[int, Mapping[int, int]], heroes: Mapping[int, Sequence[UserId]]
    ) -> dict[tuple[int, UserId], StoredEvent]:
        """(room number, user) → member event, of all heroes."""
        wanted = [(wish.room.nid, user_id) for wish in wishes for user_id in heroes[id(wish)]]
        if not wanted:
            return {}
        numbers = await self._reads.numbers.find({(MEMBER, user_id) for _, user_id in wanted})
        nids = {
            (nid, user_id): event_nid
            for nid, user_id in wanted
            if (event_nid := full[nid].get(numbers.get((MEMBER, user_id), -1))) is not None
        }
        stored = await self._reads.store.by_nids(set(nids.values()))
        return {key: stored[nid] for key, nid in nids.items() if nid in stored}

    async def _named(
        self, wishes: Sequence[Wish], full: Mapping[int, Mapping[int, int]]
    ) -> dict[int, dict[str, str | None]]:
        """Name and avatar of each room: what there is at first, and then what changed (None: it is no more)."""
        found: dict[int, dict[str, str | None]] = {}
        left = [wish for wish in wishes if not wish.is_inside]
        numbers = await self._reads.numbers.find([NAME, AVATAR]) if left else {}
        outside = {
            nid for wish in left for number in numbers.values() if (nid := full[wish.room.nid].get(number)) is not None
        }
        stored = await self._reads.store.by_nids(outside) if outside else {}
        for wish in wishes:
            named: dict[str, str | None] = {}
            for field_name, key, content_key in (("name", NAME, "name"), ("avatar", AVATAR, "url")):
                if not wish.is_initial and key not in wish.changed:
                    continue
                if wish.is_inside:
                    value = wish.room.known_text(key[0], content_key)
                else:
                    event = stored.get(full[wish.room.nid].get(numbers.get(key, -1), -1))
                    text = event.event.content.get(content_key) if event is not None else None
                    value = text if isinstance(text, str) else None
                if value or not wish.is_initial:
                    named[field_name] = value or None
            found[id(wish)] = named
        return found

    async def _memberships(self, viewer: UserId, wishes: Sequence[Wish]) -> str | dict[int, str]:
        if all(self._is_steady(wish) for wish in wishes):
            return "join"
        timelines = await self._reads.gate.timelines(viewer, [wish.room for wish in wishes])
        return {
            stored.nid: timelines[wish.room.room_id].membership_at(stored.ordering or 0)
            for wish in wishes
            for stored in wish.events
        }

    def _frame(self, wish: Wish, timeline: Sequence[Any], state: Sequence[Any]) -> dict[str, Any]:
        answer: dict[str, Any] = {}
        if wish.is_initial:
            answer["initial"] = True
        if wish.has_longer_timeline:
            answer["unstable_expanded_timeline"] = answer["expanded_timeline"] = True
        if timeline or wish.is_initial or wish.has_longer_timeline:
            answer["timeline"] = timeline
            answer["limited"] = wish.is_limited
            answer["prev_batch"] = place_token(wish.start)
            answer["num_live"] = (
                sum(1 for stored in wish.events if (stored.ordering or 0) > wish.live_after) if wish.live_after else 0
            )
        if state or wish.unset:
            answer["required_state"] = [*state, *wish.unset]
        return answer


def _has_moved(wish: Wish) -> bool:
    return _is_made_whole(wish) or any(kind == MEMBER for kind, _ in wish.changed)


def _is_made_whole(wish: Wish) -> bool:
    """Whether members that were missing are known since what the client has."""
    return not wish.is_initial and wish.room.whole_at > wish.since


def _lacks_members(wish: Wish) -> bool:
    """Whether the client wants all members, and was told of those who were known."""
    wanted = wish.config.state
    return _is_made_whole(wish) and not wanted.is_lazy and wanted.wants(MEMBER, "@any:example.org")


def _matching(
    wish: Wish, state: Mapping[int, int], found: Mapping[StateKey, int], keys: Mapping[int, StateKey]
) -> list[int]:
    """Of a whole state, the events that are wanted and weren't wanted before."""
    wanted, known = wish.config.state, wish.known_state if not wish.is_initial else None
    pairs: dict[StateKey, int] = {}
    for key in wanted.exact():
        number = found.get(key)
        if number is not None and number in state:
            pairs[key] = state[number]
    if wanted.has_wildcard:
        pairs.update((keys[number], nid) for number, nid in state.items() if number in keys)
    return [
        nid
        for (kind, key), nid in pairs.items()
        if wanted.wants(kind, key) and not (known is not None and known.wants(kind, key))
    ]


def _people(wish: Wish, heroes: Sequence[UserId], members: Mapping[tuple[int, UserId], StoredEvent]) -> dict[str, Any]:
    """Counts of members, and the heroes by which a nameless room is called."""
    if not wish.is_inside or not (wish.is_initial or _has_moved(wish) or NAME in wish.changed):
        return {}
    shown: list[dict[str, str]] = []
    for user_id in heroes:
        hero = {"user_id": str(user_id)}
        stored = members.get((wish.room.nid, user_id))
        for name in ("displayname", "avatar_url"):
            value = stored.event.content.get(name) if stored is not None else None
            if isinstance(value, str):
                hero[name] = value
        shown.append(hero)
    people: dict[str, Any] = {
        "joined_count": wish.room.joined,
        "invited_count": sum(1 for kind in wish.room.members.values() if kind == "invite"),
    }
    if shown:
        people["heroes"] = shown
    return people
