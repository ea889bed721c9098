"""One /sync: waits until there is something to tell, then tells it. spec: client-server-api/#get_matrixclientv3sync"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import structlog

from homeserver.core.errors import BadJson, InvalidParam
from homeserver.core.filters import Filter, compile_own_filter, compile_sender_filter, compile_types, parse_filter
from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.journal.journal import Journal
from homeserver.rooms.client_events import Viewer
from homeserver.runtime.clock import Clock
from homeserver.storage.memberships import UserRoom
from homeserver.sync.hub import SyncHub
from homeserver.sync.kept_out import KeptOut, Unwanted, heard
from homeserver.sync.room_sections import RoomSections, RoomsTold, Span
from homeserver.sync.sources import Datum, Sources
from homeserver.sync.sticky import StickySections
from homeserver.sync.token import SyncToken, parse_token
from homeserver.sync.user_rooms import UserRooms

log = structlog.get_logger()

TO_DEVICE_MAX = 100
ACKNOWLEDGED_MAX = 50_000
FILTER_CHARS_MAX = 65_536
# What reading stored data that is wrong may end in.
WRONG_DATA = (ValueError, LookupError, TypeError, AttributeError, AssertionError)


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncWish:
    """The request's parameters. `state_after`: under which name the state after the timeline is told, if it is."""

    since: str | None = None
    filter: str | None = None
    full_state: bool = False
    set_presence: str = "online"
    timeout_ms: int = 0
    state_after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncParts:
    """What the service is made of beside its sources."""

    hub: SyncHub
    user_rooms: UserRooms
    sections: RoomSections
    sticky: StickySections
    journal: Journal
    clock: Clock


class SyncService:
    """Answers /sync."""

    def __init__(self, parts: SyncParts, sources: Sources, *, timeout_s_max: float) -> None:
        self._hub = parts.hub
        self._user_rooms = parts.user_rooms
        self._sections = parts.sections
        self._sticky = parts.sticky
        self._journal = parts.journal
        self._clock = parts.clock
        self._sources = sources
        self._timeout_s_max = timeout_s_max
        self._acknowledged: OrderedDict[tuple[UserId, DeviceId], int] = OrderedDict()
        self._kept_out = KeptOut(parts.hub, sources.account_data)

    async def sync(self, user_id: UserId, device_id: DeviceId | None, wish: SyncWish) -> bytes:
        """The answer as JSON. Waits up to the wish's timeout while there is nothing new. Raises InvalidParam."""
        token = parse_token(wish.since) if wish.since else None
        if token is not None and token.position > self._journal.visible:
            raise InvalidParam("since is ahead of this server")
        wanted = await self._filter(user_id, wish.filter)
        timeout_s = min(max(wish.timeout_ms, 0) / 1000, self._timeout_s_max)
        await self._sources.presence.seen(user_id, wish.set_presence, for_s=timeout_s)
        if token is not None and device_id is not None:
            await self._acknowledge(user_id, device_id, token.to_device)
        deadline = self._clock.monotonic_s() + timeout_s
        while True:
            upto = self._journal.visible
            span = Span(
                viewer=Viewer(user_id, device_id),
                since=token.position if token else 0,
                upto=upto,
                wanted=wanted,
                full_state=wish.full_state,
                state_after=wish.state_after,
            )
            answer, has_news = await self._answer(span, token)
            left_s = deadline - self._clock.monotonic_s()
            if token is None or has_news or wish.full_state or left_s <= 0:
                return orjson.dumps(answer)
            if not await self._hub.wait(user_id, device_id or "", upto, left_s):
                return orjson.dumps(answer)

    async def _answer(self, span: Span, token: SyncToken | None) -> tuple[dict[str, Any], bool]:
        """The answer up to now, and whether it tells anything."""
        user_id, device_id = span.viewer.user_id, span.viewer.device_id
        entries = await self._user_rooms.of(user_id)
        if token is not None and not span.full_state and not self._has_news(span, token, entries):
            return await self._with_keys({"next_batch": str(SyncToken(span.upto, span.upto, span.upto))}, span), False
        data = await self._account_data(span)
        ignored = await self._kept_out.by(user_id)
        rooms = await self._rooms(span, entries, data, ignored)
        sticky_since = token.sticky if token is not None else 0
        left_out = rooms.event_nids, ignored
        sticky_told = await self._sticky.add(span, sticky_since, entries, rooms.sections, left_out)
        answer: dict[str, Any] = {}
        if rooms.sections:
            answer["rooms"] = rooms.sections
        shown = _global_data(data, span.wanted, user_id)
        if shown:
            answer["account_data"] = {"events": shown}
        presence = await self._presence(span, entries, rooms.newcomers, ignored)
        if presence:
            answer["presence"] = {"events": presence}
        told = span.upto
        if device_id is not None:
            messages, told = await self._to_device(span, token)
            if messages:
                answer["to_device"] = {"events": messages}
        lists = await self._device_lists(span, entries)
        if lists:
            answer["device_lists"] = lists
        keys_changed = device_id is not None and self._hub.user_last(user_id, "one_time_keys") > span.since
        own_presence_alone = answer.keys() == {"presence"} and all(one["sender"] == user_id for one in presence)
        has_news = (bool(answer) and not own_presence_alone) or keys_changed or sticky_told < span.upto
        answer["next_batch"] = str(SyncToken(span.upto, told, sticky_told))
        return await self._with_keys(answer, span), has_news

    async def _rooms(
        self, span: Span, entries: Mapping[RoomId, UserRoom], data: list[Datum], ignored: Unwanted
    ) -> RoomsTold:
        """The sections of rooms. One that can't be read is left out and logged, so that the others are told.

        Only for what is wrong with stored data: when the database fails, nothing is passed over.
        """
        try:
            return await self._sections.build(span, entries, data, ignored)
        except WRONG_DATA:
            if not entries:
                raise
            if len(entries) == 1:
                log.exception("room_left_out_of_sync", room_id=next(iter(entries)))
                return RoomsTold()
        room_ids = list(entries)
        told = RoomsTold()
        for half in (room_ids[: len(room_ids) // 2], room_ids[len(room_ids) // 2 :]):
            told.add(await self._rooms(span, {room_id: entries[room_id] for room_id in half}, data, ignored))
        return told

    def _has_news(self, span: Span, token: SyncToken, entries: Mapping[RoomId, UserRoom]) -> bool:
        """Whether anything may have happened, from memory alone."""
        since = token.position
        if since < self._hub.start or min(token.to_device, token.sticky) < since:
            return True
        if self._hub.user_newest(span.viewer.user_id) > since:
            return True
        return any(entries[room_id].membership == "join" for room_id in self._hub.active(since, entries))

    async def _acknowledge(self, user_id: UserId, device_id: DeviceId, position: int) -> None:
        """Deletes the messages that the device has, unless it was told of none since the last time."""
        key = (user_id, device_id)
        done = self._acknowledged.get(key, 0)
        if done >= position or (done and self._hub.user_last(user_id, "to_device") <= done):
            return
        await self._sources.to_device.acknowledge(user_id, device_id, position)
        self._acknowledged[key] = position
        if len(self._acknowledged) > ACKNOWLEDGED_MAX:
            self._acknowledged.popitem(last=False)

    def _may_have(self, user_id: UserId, kind: str, since: int) -> bool:
        return since < self._hub.start or self._hub.user_last(user_id, kind) > since

    async def _account_data(self, span: Span) -> list[Datum]:
        user_id = span.viewer.user_id
        if not span.is_initial and not self._may_have(user_id, "account_data", span.since):
            return []
        return list(await self._sources.account_data.changes(user_id, span.since, span.upto))

    async def _presence(
        self, span: Span, entries: Mapping[RoomId, UserRoom], newcomers: Collection[UserId], ignored: Unwanted
    ) -> list[dict[str, Any]]:
        types = compile_types(span.wanted.presence.types, span.wanted.presence.not_types)
        if types is not None and not types("m.presence"):
            return []
        user_id = span.viewer.user_id
        is_quiet = not self._may_have(user_id, "presence", span.since)
        if is_quiet and not span.is_initial and not self._hub.member_moved(entries, span.since):
            return []
        found = await self._sources.presence.changes(user_id, span.since, span.upto, newcomers)
        senders = heard(ignored, compile_sender_filter(span.wanted.presence))
        return found if senders is None else [event for event in found if senders(event.get("sender", ""))]

    async def _to_device(self, span: Span, token: SyncToken | None) -> tuple[list[dict[str, Any]], int]:
        since = token.to_device if token else 0
        user_id, device_id = span.viewer.user_id, span.viewer.device_id
        assert device_id is not None
        if not self._may_have(user_id, "to_device", since):
            return [], span.upto
        messages, last = await self._sources.to_device.pending(user_id, device_id, since, span.upto, TO_DEVICE_MAX)
        return messages, last if len(messages) >= TO_DEVICE_MAX else span.upto

    async def _device_lists(self, span: Span, entries: Mapping[RoomId, UserRoom]) -> dict[str, list[str]]:
        user_id = span.viewer.user_id
        if span.is_initial:
            return {}
        has_joins = self._may_have(user_id, "device_list", span.since) or self._may_have(
            user_id, "membership", span.since
        )
        if not has_joins and not self._hub.member_moved(entries, span.since):
            return {}
        changed, left = await self._sources.device_lists.changes(user_id, span.since, span.upto)
        lists: dict[str, list[str]] = {"changed": [*sorted(changed)], "left": [*sorted(left)]}
        return lists if changed or left else {}

    async def _with_keys(self, answer: dict[str, Any], span: Span) -> dict[str, Any]:
        device_id = span.viewer.device_id
        if device_id is not None:
            counts, unused = await self._sources.one_time_keys.counts(span.viewer.user_id, device_id)
            answer["device_one_time_keys_count"] = counts
            answer["device_unused_fallback_key_types"] = unused
        return answer

    async def _filter(self, user_id: UserId, text: str | None) -> Filter:
        if text is None:
            return Filter()
        if not text.startswith("{"):
            return await self._sources.filters.get(user_id, text)
        if len(text) > FILTER_CHARS_MAX:
            raise InvalidParam(f"filter may have {FILTER_CHARS_MAX} characters")
        try:
            return parse_filter(orjson.loads(text))
        except orjson.JSONDecodeError:
            raise BadJson("filter must be JSON, or the id of an uploaded filter") from None


def _global_data(data: list[Datum], wanted: Filter, viewer: UserId) -> list[dict[str, Any]]:
    passes = compile_own_filter(wanted.account_data, viewer)
    return [
        {"type": datum.type, "content": datum.content} for datum in data if datum.room_id is None and passes(datum.type)
    ]
