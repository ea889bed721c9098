"""Events as clients get them. spec: client-server-api/#room-event-format

An event is serialised once; what differs between viewers (age, transaction id, membership) is spliced in between bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from homeserver.core.events import Event
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.core.sticky import FIELD as STICKY
from homeserver.core.sticky import duration_ms, left_ms
from homeserver.rooms.aggregations import Aggregations, Bundle
from homeserver.rooms.shown_with import Beside, ShownWith
from homeserver.runtime.clock import Clock
from homeserver.storage.events import StoredEvent


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks, and from which device: it alone sees its transaction ids. Operators see what was redacted by what."""

    user_id: UserId
    device_id: DeviceId | None = None
    is_operator: bool = False


class ClientEvents:
    """Renders events for clients."""

    def __init__(self, shown_with: ShownWith, clock: Clock, aggregations: Aggregations) -> None:
        self._shown_with = shown_with
        self._clock = clock
        self._aggregations = aggregations

    async def render(
        self,
        stored: Sequence[StoredEvent],
        viewer: Viewer,
        *,
        with_room_id: bool,
        membership: str | Mapping[int, str] | None = None,
    ) -> list[orjson.Fragment]:
        """Each event's JSON, in the same order, to be put into an answer as it is.

        `membership` is the viewer's at these events (one for all, or by event number), shown in `unsigned`.
        With each goes what is aggregated of the events that relate to it. At most one query for the events that these
        replace or were redacted by, and those of the aggregations; none for what was rendered before. Of what was
        replaced or redacts no more is shown than the viewer may see of it.
        """
        stored = await self._prepare(stored, viewer)
        bundles = await self._aggregations.bundles(viewer.user_id, stored)
        now = self._clock.now_ms()
        if not bundles:
            return [orjson.Fragment(self._splice(event, viewer, now, with_room_id, membership)) for event in stored]
        inner = [event for bundle in bundles.values() for event in bundle.events]
        theirs = {id(event): shown for event, shown in zip(inner, await self._prepare(inner, viewer), strict=True)}

        def rendered(event: StoredEvent, more: bytes = b"") -> bytes:
            event = theirs.get(id(event), event)
            return self._splice(event, viewer, now, with_room_id, membership, more)

        def edited(event: StoredEvent) -> bytes:
            bundle = bundles.get(event.nid)
            edit = bundle.edit if bundle is not None else None
            return rendered(event, _relations(Bundle(edit=edit), rendered, rendered) if edit is not None else b"")

        def bundled(event: StoredEvent) -> bytes:
            bundle = bundles.get(event.nid)
            return rendered(event, _relations(bundle, rendered, edited) if bundle is not None else b"")

        return [orjson.Fragment(bundled(event)) for event in stored]

    async def _prepare(self, stored: Sequence[StoredEvent], viewer: Viewer) -> Sequence[StoredEvent]:
        """The same events, rendered: for all alike, and anew where this viewer may see less of what is shown beside."""
        fresh = [event for event in stored if event.rendered is None]
        if fresh:
            beside = await self._shown_with.of(fresh)
            for event in fresh:
                event.rendered = _halves(event.event, beside[event.nid])
        if viewer.is_operator:
            return stored
        hidden = await self._shown_with.hidden_from(viewer.user_id, stored)
        return [
            replace(event, rendered=_halves(event.event, hidden[event.nid])) if event.nid in hidden else event
            for event in stored
        ]

    def _splice(
        self,
        stored: StoredEvent,
        viewer: Viewer,
        now: int,
        with_room_id: bool,
        membership: str | Mapping[int, str] | None,
        relations: bytes = b"",
    ) -> bytes:
        assert stored.rendered is not None
        event = stored.event
        head, unsigned, _ = stored.rendered
        room = b'"room_id":' + orjson.dumps(event.room_id) + b"," if with_room_id else b""
        own = b'"age":%d' % max(0, now - event.origin_server_ts)
        if stored.txn_id is not None and stored.device_id == viewer.device_id and event.sender == viewer.user_id:
            own += b',"transaction_id":' + orjson.dumps(stored.txn_id)
        if membership is not None:
            value = membership if isinstance(membership, str) else membership.get(stored.nid)
            if value is not None:
                own += b',"membership":' + orjson.dumps(value)
        if STICKY in event.pdu:
            left = left_ms(event, now)
            own += b',"msc4354_sticky_duration_ttl_ms":%d' % left if left is not None else b""
        return head + room + b'"unsigned":{' + unsigned + relations + own + b"}}"


def _relations(
    bundle: Bundle, rendered: Callable[[StoredEvent], bytes], edited: Callable[[StoredEvent], bytes]
) -> bytes:
    """`m.relations` with a comma at its end."""
    parts: list[bytes] = []
    if bundle.edit is not None:
        parts.append(b'"m.replace":' + rendered(bundle.edit))
    if bundle.thread is not None:
        thread = bundle.thread
        said = b'"count":%d,"current_user_participated":%b,' % (
            thread.count,
            b"true" if thread.participated else b"false",
        )
        parts.append(b'"m.thread":{' + said + b'"latest_event":' + edited(thread.latest) + b"}")
    if bundle.references:
        chunk = [{"event_id": event_id} for event_id in bundle.references]
        parts.append(b'"m.reference":{"chunk":' + orjson.dumps(chunk) + b"}")
    return b'"m.relations":{' + b",".join(parts) + b"},"


def _halves(event: Event, beside: Beside) -> tuple[bytes, bytes, UserId | None]:
    """All before `unsigned` (with a comma at its end), how that begins (likewise), and whose state was replaced."""
    unsigned: dict[str, Any] = {}
    if beside.replaced is not None:
        unsigned["prev_content"] = beside.replaced.content
        unsigned["prev_sender"] = beside.replaced.sender
        unsigned["replaces_state"] = beside.replaced.event_id
    if beside.redaction is not None:
        unsigned["redacted_because"] = {**_fields(beside.redaction), "room_id": event.room_id, "unsigned": {}}
    head = orjson.dumps(_fields(event))[:-1] + b","
    own = orjson.dumps(unsigned)[1:-1] + (b"," if unsigned else b"")
    return head, own, beside.replaced.sender if beside.replaced is not None else None


def _fields(event: Event) -> dict[str, Any]:
    """The event's fields but for room_id and unsigned."""
    content = event.content
    fields: dict[str, Any] = {
        "content": content,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "sender": event.sender,
        "type": event.type,
    }
    if event.state_key is not None:
        fields["state_key"] = event.state_key
    if duration_ms(event) is not None:
        fields[STICKY] = event.pdu[STICKY]
    redacts = event.redacts
    if redacts is not None and event.type == "m.room.redaction":
        # Both places, whatever the room version: clients of either kind find it. spec: rooms/v11/#redactions
        fields["redacts"] = redacts
        fields["content"] = {**content, "redacts": redacts}
    return fields


def stripped(event: Event) -> dict[str, Any]:
    """A state event as those outside of the room get it. spec: client-server-api/#stripped-state

    Of the create event more is told, as it is all that says which room this is.
    """
    told: dict[str, Any] = {
        "content": event.content,
        "sender": event.sender,
        "state_key": event.state_key,
        "type": event.type,
    }
    if event.type == "m.room.create":
        told |= {
            "event_id": event.event_id,
            "room_id": event.room_id,
            "origin_server_ts": event.origin_server_ts,
        }
    return told
