"""What a sliding sync answer has beside the rooms: messages to the device, keys, account data, receipts, typing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeserver.core.errors import InvalidParam
from homeserver.core.identifiers import DeviceId, RoomId, UserId
from homeserver.rooms.client_events import ClientEvents, Viewer
from homeserver.storage.memberships import UserRoom
from homeserver.sync.hub import SyncHub
from homeserver.sync.kept_out import KeptOut, heard, receipts_of
from homeserver.sync.sliding.request import Extensions, Scoped, StickyWish, ToDeviceWish
from homeserver.sync.sliding.windows import Relevant
from homeserver.sync.sources import Datum, Sources
from homeserver.sync.sticky import told_by_extension

TO_DEVICE_MAX = 100
DEVICES_MAX = 20_000
THREADS_MAX = 100
STICKY_MAX = 100
STICKY = "org.matrix.msc4354.sticky_events"


class ThreadSubscriptions(Protocol):
    """Which threads users follow (MSC4306)."""

    async def changes(self, user_id: UserId, since: int, upto: int, limit: int) -> dict[str, Any]:
        """`subscribed`, `unsubscribed` and `prev_batch` as MSC4308 has them, of what changed in (since, upto]."""
        ...


@dataclass(slots=True, kw_only=True)
class Told:
    """What an answer tells of the rooms, as far as the extensions want to know."""

    viewer: Viewer
    entries: Mapping[RoomId, UserRoom]
    relevant: Relevant
    since: int
    upto: int
    # Rooms that the client gets for the first time, with the place that their timeline begins at.
    new: dict[RoomId, int] = field(default_factory=dict)
    # Rooms that it lacks more of than what came after `since`.
    late: dict[RoomId, int] = field(default_factory=dict)
    # What the rooms' timelines have, by the events' numbers.
    event_nids: set[int] = field(default_factory=set)


class SlidingExtensions:
    """Builds the extensions' part of an answer."""

    def __init__(
        self,
        sources: Sources,
        hub: SyncHub,
        client_events: ClientEvents,
        kept_out: KeptOut,
        threads: ThreadSubscriptions | None = None,
    ) -> None:
        self._sources = sources
        self._hub = hub
        self._client_events = client_events
        self._kept_out = kept_out
        self._threads = threads
        # Devices for which nothing waited, and up to where that is known.
        self._nothing_waits: OrderedDict[tuple[UserId, DeviceId], int] = OrderedDict()

    async def build(self, wanted: Extensions, told: Told) -> tuple[dict[str, Any], bool]:
        """The extensions that were asked for, and whether they tell anything new."""
        answer: dict[str, Any] = {}
        has_news = False
        device_id = told.viewer.device_id
        to_device, account_data, threads = wanted.to_device, wanted.account_data, wanted.thread_subscriptions
        if to_device is not None and to_device.enabled and device_id is not None:
            answer["to_device"] = await self._to_device(to_device, told, device_id)
            has_news |= bool(answer["to_device"]["events"])
        if wanted.e2ee is not None and wanted.e2ee.enabled and device_id is not None:
            answer["e2ee"] = await self._e2ee(told, device_id)
            changed = self._hub.user_last(told.viewer.user_id, "one_time_keys") > told.since
            has_news |= "device_lists" in answer["e2ee"] or changed
        if account_data is not None and account_data.enabled:
            data = await self._account_data(account_data, told)
            if data:
                answer["account_data"] = data
                has_news = True
        for name, wish, find in (
            ("receipts", wanted.receipts, self._receipts),
            ("typing", wanted.typing, self._typing),
        ):
            if wish is not None and wish.enabled:
                rooms = await find(wish, told)
                if rooms:
                    answer[name] = {"rooms": rooms}
                    has_news = True
        if threads is not None and threads.enabled and self._threads is not None:
            changes = await self._followed(self._threads, told, min(threads.limit, THREADS_MAX))
            if changes:
                answer["io.element.msc4308.thread_subscriptions"] = changes
                has_news = True
        sticky = wanted.sticky_events
        if sticky is not None and sticky.enabled:
            answer[STICKY] = await self._sticky(sticky, told)
            has_news |= bool(answer[STICKY]["rooms"])
        return answer, has_news

    async def acknowledge(self, user_id: UserId, device_id: DeviceId, since: str) -> None:
        """Deletes the messages that the device has. Raises InvalidParam."""
        await self._sources.to_device.acknowledge(user_id, device_id, parse_since(since))

    async def _to_device(self, wish: ToDeviceWish, told: Told, device_id: DeviceId) -> dict[str, Any]:
        since = parse_since(wish.since) if wish.since is not None else 0
        user_id, limit = told.viewer.user_id, min(wish.limit, TO_DEVICE_MAX)
        emptied_at = self._nothing_waits.get((user_id, device_id), 0)
        if limit == 0 or not self._may_have(user_id, "to_device", max(since, emptied_at)):
            return {"next_batch": str(max(since, told.upto) if limit else since), "events": []}
        messages, last = await self._sources.to_device.pending(user_id, device_id, since, told.upto, limit)
        if not since and not messages:
            self._nothing_waits[user_id, device_id] = told.upto
            if len(self._nothing_waits) > DEVICES_MAX:
                self._nothing_waits.popitem(last=False)
        return {"next_batch": str(max(last, since)), "events": messages}

    async def _e2ee(self, told: Told, device_id: DeviceId) -> dict[str, Any]:
        user_id = told.viewer.user_id
        counts, unused = await self._sources.one_time_keys.counts(user_id, device_id)
        answer: dict[str, Any] = {
            "device_one_time_keys_count": counts,
            "device_unused_fallback_key_types": unused,
        }
        if not told.since:
            return answer
        has_moved = self._may_have(user_id, "device_list", told.since) or self._may_have(
            user_id, "membership", told.since
        )
        if has_moved or self._hub.members_moved(told.since, told.entries):
            changed, left = await self._sources.device_lists.changes(user_id, told.since, told.upto)
            if changed or left:
                answer["device_lists"] = {"changed": sorted(changed), "left": sorted(left)}
        return answer

    async def _account_data(self, wish: Scoped, told: Told) -> dict[str, Any]:
        user_id, source = told.viewer.user_id, self._sources.account_data
        is_wanted = told.relevant.scope(wish)
        new = [room_id for room_id in told.new if is_wanted(room_id)]
        found: list[Datum] = []
        if new or not told.since:
            found += await source.of_rooms(user_id, new, with_account=not told.since)
        since = min([told.since, *told.late.values()])
        if told.since and self._may_have(user_id, "account_data", since):
            found += [
                datum
                for datum in await source.changes(user_id, since, told.upto)
                if (datum.room_id is None and datum.position > told.since)
                or (
                    datum.room_id is not None
                    and datum.room_id not in told.new
                    and datum.position > told.late.get(datum.room_id, told.since)
                    and is_wanted(datum.room_id)
                )
            ]
        answer: dict[str, Any] = {}
        for datum in found:
            shown = {"type": datum.type, "content": datum.content}
            if datum.room_id is None:
                answer.setdefault("global", []).append(shown)
            else:
                answer.setdefault("rooms", {}).setdefault(datum.room_id, []).append(shown)
        return answer

    async def _receipts(self, wish: Scoped, told: Told) -> dict[str, Any]:
        user_id, source = told.viewer.user_id, self._sources.receipts
        is_wanted = told.relevant.scope(wish)
        found = dict(
            await source.near(user_id, {room_id: start for room_id, start in told.new.items() if is_wanted(room_id)})
        )
        by_since: dict[int, list[RoomId]] = {}
        for room_id in self._lively(told):
            if room_id not in told.new and is_wanted(room_id):
                by_since.setdefault(told.late.get(room_id, told.since), []).append(room_id)
        for room_id, since in told.late.items():
            if is_wanted(room_id) and room_id not in by_since.get(since, ()):
                by_since.setdefault(since, []).append(room_id)
        for since, room_ids in by_since.items():
            found.update(await source.changes(user_id, room_ids, since, told.upto))
        hears = heard(await self._kept_out.by(user_id))
        shown = {room_id: receipts_of(content, hears) for room_id, content in found.items()}
        return {room_id: {"type": "m.receipt", "content": content} for room_id, content in shown.items() if content}

    def _lively(self, told: Told) -> Sequence[RoomId]:
        """Joined rooms where anything may have happened since the client's position."""
        if not told.since:
            return []
        if told.since < self._hub.start:
            rooms = list(dict.fromkeys(told.relevant.everything()))
        else:
            rooms = self._hub.active(told.since, told.entries)
            if self._hub.user_last(told.viewer.user_id, "receipt") > told.since:
                # Private receipts are no event of the room.
                rooms = list(dict.fromkeys([*rooms, *told.relevant.everything()]))
        return [room_id for room_id in rooms if told.entries[room_id].membership == "join"]

    async def _typing(self, wish: Scoped, told: Told) -> dict[str, Any]:
        is_wanted, source = told.relevant.scope(wish), self._sources.typing
        lively = self._hub.active(told.since, told.entries) if told.since else []
        hears = heard(await self._kept_out.by(told.viewer.user_id))
        found: dict[str, Any] = {}
        for room_id in dict.fromkeys([*told.new, *lively]):
            entry = told.entries.get(room_id)
            if entry is None or entry.membership != "join" or not is_wanted(room_id):
                continue
            changed_at = source.changed_at(room_id)
            if room_id in told.new or changed_at > told.since:
                users = await source.users(room_id) if changed_at else []
                users = users if hears is None else [user for user in users if hears(user)]
                if users or room_id not in told.new:
                    found[room_id] = {"type": "m.typing", "content": {"user_ids": users}}
        return found

    async def _followed(self, threads: ThreadSubscriptions, told: Told, limit: int) -> dict[str, Any]:
        user_id = told.viewer.user_id
        if told.since and not self._may_have(user_id, "thread_subscription", told.since):
            return {}
        return await threads.changes(user_id, told.since, told.upto, limit)

    async def _sticky(self, wish: StickyWish, told: Told) -> dict[str, Any]:
        """Of all joined rooms where the client has lists; else of those that it names."""
        since = parse_sticky_since(wish.since) if wish.since is not None else 0
        relevant, limit = told.relevant, min(wish.limit, STICKY_MAX)
        has_lists = bool(relevant.whole) or any(asked.lists for asked in relevant.named.values())
        asked = told.entries if has_lists else relevant.named
        rooms = [room_id for room_id in self._sources.sticky.lively(since, asked) if _is_joined(told, room_id)]
        if limit == 0 or not rooms:
            return {"next_batch": f"sticky_{max(since, told.upto) if limit else since}", "rooms": {}}
        ignored = await self._kept_out.by(told.viewer.user_id)
        span, left_out = (since, told.upto, limit), (told.event_nids, ignored)
        found, upto = await told_by_extension(
            self._sources.sticky, self._client_events, told.viewer, rooms, span, left_out
        )
        return {"next_batch": f"sticky_{max(since, upto)}", "rooms": found}

    def _may_have(self, user_id: UserId, kind: str, since: int) -> bool:
        return since < self._hub.start or self._hub.user_last(user_id, kind) > since


def _is_joined(told: Told, room_id: RoomId) -> bool:
    entry = told.entries.get(room_id)
    return entry is not None and entry.membership == "join"


def parse_sticky_since(text: str) -> int:
    """The position in a `next_batch` of the sticky events' extension. Raises InvalidParam."""
    number = text.removeprefix("sticky_")
    if number == text or not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise InvalidParam(f"extensions.{STICKY}.since is no next_batch of this server")
    return int(number)


def parse_since(text: str) -> int:
    """The position in a `next_batch` of the to-device extension. Raises InvalidParam."""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise InvalidParam("extensions.to_device.since is no next_batch of this server")
    return int(text)
