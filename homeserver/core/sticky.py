"""Events that servers and clients are to hear of for sure while they last, wherever the timeline has gone (MSC4354)."""

from __future__ import annotations

from homeserver.core.events import Event

FIELD = "msc4354_sticky"
DURATION_MS_MAX = 3_600_000


def duration_ms(event: Event) -> int | None:
    """For how long an event sticks, an hour at most; None for one that doesn't, or says nonsense. Cost: one look-up."""
    field = event.pdu.get(FIELD)
    value = field.get("duration_ms") if isinstance(field, dict) else None
    if type(value) is not int or value < 0:
        return None
    return min(value, DURATION_MS_MAX)


def sticks_until_ms(event: Event, received_ms: int) -> int | None:
    """When it ends: counted from when the event says it was sent, or came here, whichever is earlier."""
    lasts_ms = duration_ms(event)
    return None if lasts_ms is None else min(event.origin_server_ts, received_ms) + lasts_ms


def left_ms(event: Event, now_ms: int) -> int | None:
    """How much of its time is left, for a client whose clock may be wrong; None for an event that doesn't stick."""
    lasts_ms = duration_ms(event)
    return None if lasts_ms is None else max(0, min(lasts_ms, event.origin_server_ts + lasts_ms - now_ms))
