"""One sliding sync: waits until there is something to tell, then tells it. spec: MSC4186"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson
import structlog

from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.core.visibility import VisibilityTimeline
from homeserver.journal.journal import Journal
from homeserver.rooms.client_events import Viewer
from homeserver.rooms.read_gate import ReadGate
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.clock import Clock
from homeserver.storage.memberships import UserRoom
from homeserver.sync.hub import SyncHub
from homeserver.sync.kept_out import KeptOut
from homeserver.sync.room_facts import RoomFacts
from homeserver.sync.service import WRONG_DATA
from homeserver.sync.sliding.connections import (
    NOTHING,
    Connection,
    Connections,
    SentState,
    UnknownPosition,
    parse_position,
)
from homeserver.sync.sliding.extensions import SlidingExtensions, Told
from homeserver.sync.sliding.plans import JOINED, OUT, WAITING, News, RoomPlan, SlidingPlan, leave_out, make_plan
from homeserver.sync.sliding.request import NO_EXTENSIONS, NO_FILTER, Extensions, SlidingBody
from homeserver.sync.sliding.room_lists import RoomLists, RoomTraits, UserLists
from homeserver.sync.sliding.rooms import SlidingRooms, Wish
from homeserver.sync.sliding.windows import Reader, Relevant
from homeserver.sync.sources import Sources

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingWish:
    """The request's parameters beside the body."""

    pos: str | None
    timeout_ms: int
    set_presence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SlidingParts:
    """What the service is made of."""

    hub: SyncHub
    journal: Journal
    clock: Clock
    rooms: Rooms
    gate: ReadGate
    facts: RoomFacts
    lists: RoomLists
    traits: RoomTraits
    connections: Connections
    answers: SlidingRooms
    extensions: SlidingExtensions
    kept_out: KeptOut
    sources: Sources


@dataclass(frozen=True, slots=True)
class _Talk:
    """One request on its connection."""

    viewer: Viewer
    conn_id: str
    connection: Connection
    state: SentState
    since: int
    reader: Reader
    filters: Collection[Any]
    extensions: Extensions

    @property
    def place(self) -> tuple[UserId, str, str]:
        return self.viewer.user_id, self.viewer.device_id or "", self.conn_id


class SlidingSync:
    """Answers sliding sync."""

    def __init__(self, parts: SlidingParts, *, timeout_s_max: float) -> None:
        self._parts = parts
        self._timeout_s_max = timeout_s_max

    async def sync(self, user_id: UserId, device_id: DeviceId | None, body: SlidingBody, wish: SlidingWish) -> bytes:
        """The answer as JSON. Waits up to the wish's timeout while there is nothing new.

        Raises InvalidParam, BadJson, UnknownPosition.
        """
        body.check()
        parts = self._parts
        talk = await self._talk(user_id, device_id, body, wish.pos)
        timeout_s = min(wish.timeout_ms / 1000, self._timeout_s_max)
        await parts.sources.presence.seen(user_id, wish.set_presence, for_s=timeout_s)
        to_device = talk.extensions.to_device
        if device_id is not None and to_device is not None and to_device.enabled and to_device.since:
            await parts.extensions.acknowledge(user_id, device_id, to_device.since)
        deadline = parts.clock.monotonic_s() + timeout_s
        while True:
            answer, has_news, upto = await self._answer(talk)
            left_s = deadline - parts.clock.monotonic_s()
            if not talk.since or has_news or left_s <= 0:
                return answer
            if not await parts.hub.wait(user_id, device_id or "", upto, left_s):
                return answer

    async def _talk(self, user_id: UserId, device_id: DeviceId | None, body: SlidingBody, pos: str | None) -> _Talk:
        connections, conn_id = self._parts.connections, body.conn_id or ""
        if pos:
            number, since = parse_position(pos)
            connection, state = await connections.resume(user_id, device_id or "", conn_id, number)
            if not state.since <= since <= self._parts.journal.visible:
                raise UnknownPosition("nothing is known of this position: begin without one")
        else:
            connection, state = await connections.begin(user_id, device_id or "", conn_id), NOTHING
            since = 0
        filters = {one.filters or NO_FILTER for one in (body.lists or {}).values()}
        return _Talk(
            Viewer(user_id, device_id),
            conn_id,
            connection,
            state,
            since,
            Reader(user_id, body),
            filters,
            body.extensions or NO_EXTENSIONS,
        )

    async def _answer(self, talk: _Talk) -> tuple[bytes, bool, int]:
        """The answer up to now, whether it tells anything, and up to where it goes."""
        parts, user_id = self._parts, talk.viewer.user_id
        direct = await parts.traits.direct_rooms(user_id)
        read = await self._read_since(user_id, talk.since)
        known = await parts.lists.of(user_id, talk.filters, lambda: parts.journal.visible)
        upto = parts.journal.visible
        relevant, counts = talk.reader.read(known, talk.connection, talk.state)
        news = self._news(talk, known, relevant, read, direct)
        plan = make_plan(known, relevant, talk.state, news)
        told = Told(viewer=talk.viewer, entries=known.entries, relevant=relevant, since=talk.since, upto=upto)
        rooms = await self._rooms(talk, plan, plan.rooms, known, told, news)
        extensions, has_news = await parts.extensions.build(talk.extensions, told)
        state = await parts.connections.keep(talk.connection, talk.state, plan.changes, plan.wanted, upto)
        talk.connection.complete = (
            {} if plan.is_cut else {name: (state.number, mark) for name, mark in relevant.marks.items()}
        )
        answer = {
            "pos": f"{state.number}_{upto}",
            "lists": {name: {"count": count} for name, count in counts.items()},
            "rooms": rooms,
            "extensions": extensions,
        }
        return orjson.dumps(answer), bool(rooms) or has_news, upto

    async def _read_since(self, user_id: UserId, since: int) -> Sequence[RoomId]:
        """The rooms where the user read on elsewhere: their counts changed."""
        hub = self._parts.hub
        if not since or (since >= hub.start and hub.user_last(user_id, "receipt") <= since):
            return ()
        return await self._parts.sources.receipts.rooms_read(user_id, since, self._parts.journal.visible)

    def _news(
        self, talk: _Talk, known: UserLists, relevant: Relevant, read: Sequence[RoomId], direct: frozenset[str]
    ) -> News:
        parts, since, entries = self._parts, talk.since, known.entries
        changed: list[RoomId] = []
        others: list[RoomId] = []
        is_direct_new = False
        if since:
            heard = parts.facts.changed(since, entries)
            is_late = heard is None or since < parts.hub.start
            changed = heard if heard is not None else known.changed(since)
            # What no event of a timeline tells: invites from other servers, and states that met another.
            changed += [
                room_id
                for room_id in parts.hub.active(since, entries)
                if entries[room_id].event_nid > since or parts.hub.jump_last(room_id) > since
            ]
            changed = list(dict.fromkeys(changed))
            is_direct_new = is_late or parts.hub.user_last(talk.viewer.user_id, "account_data") > since
            if talk.extensions.receipts is not None or talk.extensions.account_data is not None:
                # What else happened to rooms that aren't asked for now must be made up for when they are.
                lively = list(entries) if is_late or is_direct_new else parts.hub.active(since, entries)
                others = [room_id for room_id in lively if relevant.find(room_id) is None]
        return News(
            since=since,
            changed=changed,
            read=[room_id for room_id in read if room_id in entries],
            others=others,
            direct=direct,
            is_direct_new=is_direct_new,
        )

    async def _rooms(
        self,
        talk: _Talk,
        plan: SlidingPlan,
        planned: Sequence[RoomPlan],
        known: UserLists,
        told: Told,
        news: News,
    ) -> dict[RoomId, dict[str, Any]]:
        """What is told of these planned rooms. One that can't be read is left out and logged: the others are told.

        Only for what is wrong with stored data: when the database fails, nothing is passed over.
        """
        if not planned:
            return {}
        try:
            return await self._readable_rooms(talk, plan, planned, known, told, news)
        except WRONG_DATA:
            if len(planned) == 1:
                log.exception("room_left_out_of_sync", room_id=planned[0].room_id)
                leave_out(plan, planned[0])
                return {}
        half = len(planned) // 2
        first = await self._rooms(talk, plan, planned[:half], known, told, news)
        return {**first, **await self._rooms(talk, plan, planned[half:], known, told, news)}

    async def _readable_rooms(
        self,
        talk: _Talk,
        plan: SlidingPlan,
        planned: Sequence[RoomPlan],
        known: UserLists,
        told: Told,
        news: News,
    ) -> dict[RoomId, dict[str, Any]]:
        """`told` takes in what the extensions must know."""
        answers = self._parts.answers
        found = await self._parts.rooms.get_many([room.room_id for room in planned])
        for one in planned:
            if one.room_id not in found and one.entry.membership == JOINED:
                leave_out(plan, one)
        waiting, gone, wishes = await self._sorted(talk, planned, found, told)
        ignored = await self._parts.kept_out.by(talk.viewer.user_id)
        rooms: dict[RoomId, dict[str, Any]] = {}
        if waiting:
            rooms.update(await answers.stripped(waiting, ignored.inviters))
        if gone:
            rooms.update(await answers.gone(talk.viewer, gone))
        if wishes:
            rooms.update(await answers.build(talk.viewer, talk.place, wishes, news.direct, ignored))
        told.event_nids.update(stored.nid for wish in wishes for stored in wish.events)
        for wish in wishes:
            # Beyond a gap the client has only what it gets now.
            sent = plan.changes.get(wish.entry.room_nid)
            if wish.is_limited and sent is not None:
                plan.changes[wish.entry.room_nid] = replace(sent, timeline_limit=wish.config.timeline_limit)
        starts = {wish.room.room_id: wish.start for wish in wishes}
        for room in planned:
            answer = rooms.get(room.room_id)
            if answer is None:
                continue
            if room.is_initial:
                if room.entry.membership == JOINED:
                    told.new[room.room_id] = starts.get(room.room_id, told.upto)
            elif room.sent is not None and room.sent.upto:
                told.late[room.room_id] = room.sent.upto
            if room.is_direct is not None:
                answer["is_dm"] = room.is_direct
            is_said = answer.keys() - {"notification_count", "highlight_count"} or room.room_id in news.read
            if not is_said:
                del rooms[room.room_id]
                continue
            answer["bump_stamp"] = known.bump_stamp(room.room_id)
            answer["membership"] = room.entry.membership
        return rooms

    async def _sorted(
        self, talk: _Talk, planned: Sequence[RoomPlan], found: dict[RoomId, Room], told: Told
    ) -> tuple[list[tuple[Room | None, UserRoom]], list[UserRoom], list[Wish]]:
        """Rooms to be told of from outside, those that are gone without having been seen, and the others."""
        viewer = talk.viewer.user_id
        waiting: list[tuple[Room | None, UserRoom]] = []
        gone: list[UserRoom] = []
        wishes: list[Wish] = []
        outside = [
            room for plan in planned if plan.entry.membership in OUT and (room := found.get(plan.room_id)) is not None
        ]
        seen = await self._parts.gate.timelines(viewer, outside) if outside else {}
        for plan in planned:
            room, membership = found.get(plan.room_id), plan.entry.membership
            if membership in WAITING:
                waiting.append((room, plan.entry))
            elif membership in OUT and (room is None or not _was_inside(plan, seen[plan.room_id])):
                gone.append(plan.entry)
            elif room is not None:
                entry = _as_left(plan.entry, seen[plan.room_id]) if membership in OUT else plan.entry
                wishes.append(
                    Wish(
                        room=room,
                        entry=entry,
                        config=plan.config,
                        since=plan.since,
                        upto=told.upto if membership == JOINED else min(told.upto, entry.event_nid),
                        live_after=talk.since,
                        is_initial=plan.is_initial,
                        has_longer_timeline=plan.has_longer_timeline,
                        known_state=plan.known_state,
                    )
                )
        return waiting, gone, wishes


def _was_inside(plan: RoomPlan, seen: VisibilityTimeline) -> bool:
    """Whether the room as the viewer left it is to be told: they were in it, and that wasn't told of before.

    Who was banned, or turned an invite down, after they had left learns that alone: the room's state at that is not
    theirs to see.
    """
    return seen.left_at is not None and (seen.is_left_last or not plan.is_initial)


def _as_left(entry: UserRoom, seen: VisibilityTimeline) -> UserRoom:
    """The room as of when the viewer was last in it, whatever became of their membership afterwards."""
    left_at = seen.left_at
    return entry if seen.is_left_last or left_at is None else replace(entry, event_nid=left_at)
