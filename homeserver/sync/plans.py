"""Which rooms a sync tells of, from where to where, and what it tells of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from homeserver.core.identifiers import RoomId, UserId
from homeserver.rooms.residents import Room
from homeserver.storage.events import StoredEvent
from homeserver.storage.memberships import UserRoom

IN, OUT = "join", frozenset({"leave", "ban"})


@dataclass(slots=True, kw_only=True)
class Plan:
    """One room: its events in (since, upto], after its state in full or what changed of it."""

    room: Room
    membership: str
    since: int
    upto: int
    is_full: bool
    # Joined at `since` and ever after: then all that happened is theirs to see.
    is_steady: bool
    # Joined after `since` of the sync that asks.
    is_newly_joined: bool = False
    # And had to do with the room before: clients have an older timeline of it, which this one doesn't continue.
    is_back: bool = False


@dataclass(slots=True)
class Plans:
    """What a sync's room sections are made of."""

    joined: list[Plan]
    left: list[Plan]
    # With the number of the member event; without a room where this server has only heard of it.
    invited: list[tuple[Room | None, int]]
    knocked: list[tuple[Room | None, int]]
    turned_away: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Told:
    """What a sync tells of one room."""

    plan: Plan
    events: list[StoredEvent] = field(default_factory=list)
    is_limited: bool = False
    has_state: bool = False  # among all that happened, also what the timeline's filter leaves out
    start: int = 0  # the place that the timeline begins at
    state_upto: int = 0  # up to where the room's state may be told
    state: list[StoredEvent] = field(default_factory=list)
    # State that lies within the timeline, but that the timeline's filter leaves out.
    left_out: list[StoredEvent] = field(default_factory=list)

    @property
    def has_members(self) -> bool:
        """Whether who is in the room may have changed for the client."""
        return self.plan.is_full or any(
            stored.event.type == "m.room.member" and stored.event.is_state for stored in (*self.events, *self.state)
        )


def memberships_at(history: Iterable[tuple[int, int, int, str | None]], since: int) -> dict[int, str | None]:
    """room nid → membership as of `since`, from (room nid, ordering, _, membership) in order."""
    return {room_nid: membership for room_nid, ordering, _, membership in history if ordering <= since}


def _was_in(before: str | None, now: str) -> bool:
    """Whether it is news. Who was never in and has left was invited meanwhile, or knocked; a ban of theirs is none."""
    return before not in OUT and (before is not None or now == "leave")


def make_plans(
    user_id: UserId,
    entries: Mapping[RoomId, UserRoom],
    rooms: Mapping[RoomId, Room],
    before: Mapping[int, str | None],
    *,
    since: int,
    upto: int,
    full_state: bool,
    include_left: bool,
    needs_members: bool = True,
) -> Plans:
    """Sorts rooms into sections. `before` has the user's membership at `since` where it changed since then.

    `needs_members`: the client is to have all members of a room, so it hears of none whose members are still missing.
    """
    plans = Plans([], [], [], [])
    for room_id, entry in entries.items():
        room = rooms.get(room_id)
        has_changed = entry.event_nid > since
        if room is None:
            if has_changed and entry.membership in ("invite", "knock"):
                (plans.invited if entry.membership == "invite" else plans.knocked).append((None, entry.event_nid))
            elif has_changed and since and not entry.is_forgotten:
                plans.turned_away.append(entry.event_nid)
            continue
        was = before.get(entry.room_nid) if has_changed else entry.membership
        if entry.membership == IN and needs_members and room.partial is not None:
            continue  # it is told once they are known
        if entry.membership == IN:
            is_new = since == 0 or was != IN or (needs_members and room.whole_at > since)
            plans.joined.append(
                Plan(
                    room=room,
                    membership=IN,
                    since=0 if is_new else since,
                    upto=upto,
                    is_full=is_new or full_state,
                    is_steady=not is_new and not has_changed,
                    is_newly_joined=is_new and since > 0,
                    is_back=is_new and since > 0 and was is not None,
                )
            )
        elif entry.membership in OUT:
            is_new = since == 0
            # A forgotten room is told once more to whoever hasn't heard of the leaving.
            is_told = (
                (include_left and not entry.is_forgotten) if is_new else has_changed and _was_in(was, entry.membership)
            )
            if is_told:
                plans.left.append(
                    Plan(
                        room=room,
                        membership=entry.membership,
                        since=0 if is_new else since,
                        upto=min(upto, entry.event_nid),
                        is_full=is_new,
                        is_steady=False,
                    )
                )
        elif has_changed:
            (plans.invited if entry.membership == "invite" else plans.knocked).append((room, entry.event_nid))
    return plans
