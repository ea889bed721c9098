"""The `rooms` part of a sync's answer."""

from __future__ import annotations

from collections.abc import Collection, Container, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from homeserver.core.filters import (
    Filter,
    RoomFilter,
    compile_own_filter,
    compile_room_filter,
    compile_sender_filter,
    compile_types,
    with_fields,
)
from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.client_events import Viewer, stripped
from homeserver.rooms.places import place_token
from homeserver.rooms.residents import Room
from homeserver.storage import events, forks
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import UserRoom
from homeserver.sync.hub import SyncHub
from homeserver.sync.kept_out import Unwanted, heard, is_kept_back, receipts_of
from homeserver.sync.lazy_members import loads_lazily
from homeserver.sync.plans import Plans, Told, make_plans, memberships_at
from homeserver.sync.sources import Datum, Sources
from homeserver.sync.summaries import summary_of
from homeserver.sync.timelines import RoomReads, Timelines

STRIPPED_TYPES = tuple(
    "m.room." + name for name in "create name avatar topic join_rules canonical_alias encryption".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Whom a sync is for, from where to where, and how it is wanted; `state_after` as in SyncWish."""

    viewer: Viewer
    since: int
    upto: int
    wanted: Filter
    full_state: bool = False
    state_after: str = ""

    @property
    def is_initial(self) -> bool:
        return self.since == 0


@dataclass(frozen=True, slots=True)
class RoomsTold:
    """The sections of a sync's rooms, who came to share a room with the viewer, and the events that timelines have."""

    sections: dict[str, Any] = field(default_factory=dict)
    newcomers: set[UserId] = field(default_factory=set)
    event_nids: set[int] = field(default_factory=set)

    def add(self, other: RoomsTold) -> None:
        """Takes up the same of other rooms."""
        for name, rooms in other.sections.items():
            self.sections.setdefault(name, {}).update(rooms)
        self.newcomers.update(other.newcomers)
        self.event_nids.update(other.event_nids)


class RoomSections:
    """Builds the sections join, leave, invite and knock for any number of rooms at once."""

    def __init__(self, reads: RoomReads, hub: SyncHub, timelines: Timelines, sources: Sources) -> None:
        self._reads = reads
        self._hub = hub
        self._timelines = timelines
        self._sources = sources

    async def build(
        self, span: Span, entries: Mapping[RoomId, UserRoom], data: Sequence[Datum], ignored: Unwanted
    ) -> RoomsTold:
        """The sections that have something to tell. `data` is the rooms' account data that changed."""
        chosen = await self._changed(span, entries, {datum.room_id for datum in data if datum.room_id})
        plans = await self._plans(span, chosen)
        device = span.viewer.device_id or ""
        told = await self._timelines.read(
            span.viewer.user_id,
            [*plans.joined, *plans.left],
            span.wanted.room,
            device=device,
            state_after=bool(span.state_after),
        )
        _without_ignored(told, ignored)
        joined, left = told[: len(plans.joined)], told[len(plans.joined) :]
        shown = await self._shown(span, told)
        sections: dict[str, Any] = {}
        if joined:
            extras = await self._extras(span, joined, data, ignored)
            found = {room.plan.room.room_id: shown[id(room)] | extras[room.plan.room.room_id] for room in joined}
            sections["join"] = found
        if left:
            sections["leave"] = {
                room.plan.room.room_id: shown[id(room)] | {"account_data": {"events": []}} for room in left
            }
        for name, key, waiting in (
            ("invite", "invite_state", plans.invited),
            ("knock", "knock_state", plans.knocked),
        ):
            if waiting:
                outside = await self._stripped(key, waiting, ignored.inviters if name == "invite" else ())
                if outside:
                    sections[name] = outside
        if plans.turned_away:
            sections.setdefault("leave", {}).update(await self._turned_away(span, plans.turned_away))
        timelines = {stored.nid for room in joined for stored in room.events}
        return RoomsTold(sections, set() if span.is_initial else _newcomers(joined), timelines)

    # --- which rooms

    async def _changed(
        self, span: Span, entries: Mapping[RoomId, UserRoom], with_data: Collection[RoomId]
    ) -> dict[RoomId, UserRoom]:
        """The rooms that something may have happened in; all of them for a first sync."""
        passes = compile_room_filter(span.wanted.room)
        known = entries if passes is None else {room_id: entry for room_id, entry in entries.items() if passes(room_id)}
        if span.is_initial or span.full_state:
            return dict(known)
        since, user_id = span.since, span.viewer.user_id
        changed = {
            room_id
            for room_id, entry in known.items()
            if entry.event_nid > since or (entry.membership == "join" and self._hub.room_last(room_id) > since)
        }
        joined = [room_id for room_id, entry in known.items() if entry.membership == "join"]
        if since < self._hub.start:
            nids = {known[room_id].room_nid: room_id for room_id in joined}
            newest = await events.newest_positions(self._reads.db, nids)
            changed = {room_id for room_id in changed if room_id not in joined or known[room_id].event_nid > since}
            changed |= {nids[nid] for nid, position in newest.items() if position > since}
            changed |= {room_id for room_id in joined if self._hub.room_last(room_id) > self._hub.start}
        if since < self._hub.start or self._hub.user_last(user_id, "receipt") > since:
            changed |= set(await self._sources.receipts.changes(user_id, joined, since, span.upto))
        changed |= set(with_data) & set(joined)
        return {room_id: known[room_id] for room_id in known if room_id in changed}

    async def _plans(self, span: Span, chosen: Mapping[RoomId, UserRoom]) -> Plans:
        user_id, since = span.viewer.user_id, span.since
        rooms = await self._reads.rooms.get_many(list(chosen))
        moved = [entry.room_nid for entry in chosen.values() if entry.event_nid > since] if since else []
        before: Mapping[int, str | None] = {}
        if moved:
            key = ("m.room.member", user_id)
            numbers = await self._reads.numbers.find([key])
            history = await events.state_history(self._reads.db, moved, list(numbers.values()))
            stored = await self._reads.store.by_nids({nid for *_, nid, _ in history})
            before = memberships_at(
                (
                    (room_nid, at, 0, stored[nid].event.membership if nid in stored else None)
                    for room_nid, _, at, nid, _ in history
                ),
                since,
            )
        return make_plans(
            user_id,
            chosen,
            rooms,
            before,
            since=since,
            upto=span.upto,
            full_state=span.full_state,
            include_left=span.wanted.room.include_leave,
            needs_members=not loads_lazily(span.wanted.room),
        )

    # --- what is told of each

    async def _shown(self, span: Span, told: Sequence[Told]) -> dict[int, dict[str, Any]]:
        """Timeline and state of each room, rendered all at once; by the identity of its Told."""
        flat = [stored for room in told for stored in (*room.events, *room.state)]
        render = self._reads.client_events.render
        members = await self._memberships(span, told)
        rendered = await render(flat, span.viewer, with_room_id=False, membership=members)
        rendered = as_wanted(rendered, flat, span.wanted)
        state_name = span.state_after or "state"
        found, at = {}, 0
        for room in told:
            middle, end = at + len(room.events), at + len(room.events) + len(room.state)
            found[id(room)] = {
                "timeline": {
                    "events": rendered[at:middle],
                    "limited": room.is_limited,
                    "prev_batch": place_token(room.start),
                },
                state_name: {"events": rendered[middle:end]},
            }
            at = end
        return found

    async def _memberships(self, span: Span, told: Sequence[Told]) -> str | dict[int, str]:
        """The viewer's membership at each timeline event: one for all where they were in every room all along."""
        if all(room.plan.is_steady for room in told):
            return "join"
        timelines = await self._reads.gate.timelines(span.viewer.user_id, [room.plan.room for room in told])
        return {
            stored.nid: timelines[room.plan.room.room_id].membership_at(stored.ordering or 0)
            for room in told
            for stored in room.events
        }

    async def _extras(
        self, span: Span, joined: Sequence[Told], data: Sequence[Datum], ignored: Unwanted
    ) -> dict[RoomId, dict[str, Any]]:
        """Summary, counts, ephemeral events and account data of joined rooms."""
        user_id, wanted = span.viewer.user_id, span.wanted.room
        room_ids = [room.plan.room.room_id for room in joined]
        counts = await self._sources.unread.counts(user_id, room_ids)
        ephemeral = await self._ephemeral(span, joined, ignored)
        by_room = _by_room(data, wanted, user_id)
        threads = wanted.timeline.unread_thread_notifications
        found: dict[RoomId, dict[str, Any]] = {}
        for room in joined:
            room_id = room.plan.room.room_id
            count = counts.get(room_id)
            extra: dict[str, Any] = {
                "ephemeral": {"events": ephemeral.get(room_id, [])},
                "account_data": {"events": by_room.get(room_id, [])},
                "summary": summary_of(room.plan.room, user_id) if room.has_members else {},
                "unread_notifications": {"notification_count": 0, "highlight_count": 0},
            }
            if count is not None:
                extra["unread_notifications"] = {
                    "notification_count": count.main_notifications if threads else count.notifications,
                    "highlight_count": count.main_highlights if threads else count.highlights,
                }
                if threads and count.threads:
                    extra["unread_thread_notifications"] = {
                        thread: {"notification_count": notified, "highlight_count": highlighted}
                        for thread, (notified, highlighted) in count.threads.items()
                    }
            found[room_id] = extra
        return found

    async def _ephemeral(
        self, span: Span, joined: Sequence[Told], ignored: Unwanted
    ) -> dict[RoomId, list[dict[str, Any]]]:
        user_id, typing = span.viewer.user_id, self._sources.typing
        wanted = span.wanted.room.ephemeral
        types = compile_types(wanted.types, wanted.not_types)
        senders = heard(ignored, compile_sender_filter(wanted))
        rooms = compile_room_filter(wanted)
        joined = [room for room in joined if rooms is None or rooms(room.plan.room.room_id)]
        new = [room.plan.room.room_id for room in joined if not room.plan.since]
        known = [room.plan.room.room_id for room in joined if room.plan.since]
        receipts: dict[RoomId, dict[str, Any]] = {}
        if types is None or types("m.receipt"):
            if new:
                receipts.update(await self._sources.receipts.changes(user_id, new, 0, span.upto))
            if known:
                receipts.update(await self._sources.receipts.changes(user_id, known, span.since, span.upto))
        found: dict[RoomId, list[dict[str, Any]]] = {}
        for room in joined:
            room_id = room.plan.room.room_id
            read = receipts_of(receipts.get(room_id) or {}, senders)
            shown = [{"type": "m.receipt", "content": read}] if read else []
            if (types is None or types("m.typing")) and typing.changed_at(room_id) > room.plan.since:
                users = [user for user in await typing.users(room_id) if senders is None or senders(user)]
                if users or room.plan.since:
                    shown.append({"type": "m.typing", "content": {"user_ids": users}})
            found[room_id] = shown
        return found

    async def _stripped(
        self, key: str, waiting: Sequence[tuple[Room | None, int]], ignored: Container[object]
    ) -> dict[RoomId, dict[str, Any]]:
        """Rooms that the viewer is invited to, or knocks at, as far as they may be known from outside."""
        nids = [nid for _, nid in waiting]
        stored = await self._reads.store.by_nids(nids)
        told = await forks.stripped(self._reads.db, [nid for nid in nids if nid in stored and not stored[nid].is_shown])
        found: dict[RoomId, dict[str, Any]] = {}
        for room, nid in waiting:
            member = stored.get(nid)
            if member is None or is_kept_back(member, ignored):
                continue
            if nid in told or room is None:
                shown: list[Any] = [*told.get(nid, ()), stripped(member.event)]
            else:
                known = [room.known_state(event_type) for event_type in STRIPPED_TYPES]
                shown = [stripped(event) for event in (*known, member.event) if event is not None]
            found[member.event.room_id] = {key: {"events": shown}}
        return found

    async def _turned_away(self, span: Span, nids: Sequence[int]) -> dict[RoomId, dict[str, Any]]:
        """Rooms on other servers whose invite or knock came to nothing: the event that says so."""
        stored = list((await self._reads.store.by_nids(nids)).values())
        rendered = await self._reads.client_events.render(stored, span.viewer, with_room_id=False, membership="leave")
        return {
            one.event.room_id: {
                "timeline": {"events": [event], "limited": False, "prev_batch": place_token(one.nid)},
                "state": {"events": []},
                "account_data": {"events": []},
            }
            for one, event in zip(stored, rendered, strict=True)
        }


def _newcomers(joined: Sequence[Told]) -> set[UserId]:
    """Those who joined the rooms of an incremental sync; in a room that is new to the viewer, everyone there."""
    found: set[UserId] = set()
    for room in joined:
        if room.plan.is_newly_joined:
            found.update(room.plan.room.joined_members())
        elif room.has_members:
            found.update(
                UserId(stored.event.state_key or "")
                for stored in (*room.events, *room.state)
                if stored.event.type == "m.room.member" and stored.event.membership == "join"
            )
    return found


def _without_ignored(told: Sequence[Told], ignored: Collection[str]) -> None:
    """Leaves out what ignored users say; their state stays, as the room would be wrong without it."""
    if not ignored:
        return
    for room in told:
        room.events = [stored for stored in room.events if stored.event.is_state or stored.event.sender not in ignored]


def _by_room(data: Sequence[Datum], wanted: RoomFilter, viewer: UserId) -> dict[RoomId, list[dict[str, Any]]]:
    passes = compile_own_filter(wanted.account_data, viewer)
    rooms = compile_room_filter(wanted.account_data)
    found: dict[RoomId, list[dict[str, Any]]] = {}
    for datum in data:
        if datum.room_id is not None and passes(datum.type) and (rooms is None or rooms(datum.room_id)):
            found.setdefault(datum.room_id, []).append({"type": datum.type, "content": datum.content})
    return found


def as_wanted(rendered: list[orjson.Fragment], stored: Sequence[StoredEvent], wanted: Filter) -> list[orjson.Fragment]:
    """Rendered events in the format, and with the fields, that a filter asks for."""
    if wanted.event_format == "federation":
        rendered = _as_between_servers(rendered, stored)
    return rendered if wanted.event_fields is None else _only_fields(rendered, wanted)


def _as_between_servers(rendered: Sequence[orjson.Fragment], stored: Sequence[StoredEvent]) -> list[orjson.Fragment]:
    """The events in the form that servers exchange, with what clients are told in `unsigned`."""
    return [
        orjson.Fragment(orjson.dumps({**event.event.pdu, "unsigned": orjson.loads(orjson.dumps(shown))["unsigned"]}))
        for shown, event in zip(rendered, stored, strict=True)
    ]


def _only_fields(rendered: Sequence[orjson.Fragment], wanted: Filter) -> list[orjson.Fragment]:
    return [
        orjson.Fragment(orjson.dumps(with_fields(orjson.loads(orjson.dumps(event)), wanted.event_fields)))
        for event in rendered
    ]
