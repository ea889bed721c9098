"""What contends for the keys of a room's state where branches meet, and what was found about the same contests before.

Whether an event is allowed hangs on create, power levels, join rules, members and invites of third parties alone: these
*decide*. What becomes of any other key hangs on its own contenders, and on what decides. While the latter is the same,
only new contests are fought: a fork that grows is not resolved anew from its beginning with each event. Room version 1
has other rules, and nothing is remembered for it. spec: rooms/v12/#state-resolution
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from homeserver.core.events import StateKey
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import RoomVersion, StateResolution
from homeserver.core.state_resolution import conflicted_subgraph
from homeserver.rooms.auth_graph import AuthGraph
from homeserver.storage.states import UNSET, View

DECIDING = frozenset(
    "m.room." + name for name in ("create", "power_levels", "join_rules", "member", "third_party_invite")
)
ROOMS_MAX, WINNERS_MAX = 16, 20_000

Contest = tuple[int, ...]
"""The numbers of the events that contend for a key, in order."""


@dataclass(slots=True)
class Contests:
    """By the number of the key: the contests of what decides, and the others."""

    deciding: dict[int, Contest] = field(default_factory=dict)
    plain: dict[int, Contest] = field(default_factory=dict)


def parted(version: RoomVersion, conflicted: Mapping[int, Collection[int]], keys: Mapping[int, StateKey]) -> Contests:
    """These contests by kind; in room version 1 all of them decide."""
    contests = Contests()
    is_old = version.state_resolution is StateResolution.V1
    for number, nids in conflicted.items():
        decides = is_old or keys[number][0] in DECIDING
        (contests.deciding if decides else contests.plain)[number] = tuple(sorted(nids))
    return contests


def difference_of(
    version: RoomVersion,
    graph: AuthGraph,
    states: Sequence[View],
    contests: Contests,
    deciding_ids: Mapping[int, EventId],
) -> set[EventId]:
    """The auth difference of these states, with the conflicted subgraph where the rules want it; without the contenders
    for plain keys.

    Of the plain contenders that cite the same one stands for all: nobody may cite them, so they add nothing else.
    """
    if version.state_resolution is StateResolution.V1:
        return set()
    ids, stand_ins = dict(deciding_ids), dict[Sequence[EventId], EventId]()
    for nids in contests.plain.values():
        for nid in nids:
            event_id = graph.ids.get(nid)
            if event_id is None:
                continue  # purged
            ids[nid] = stand_ins.setdefault(graph.auth_of(event_id), event_id)
    numbers = [*contests.deciding, *contests.plain]
    sets = [{ids[nid] for number in numbers if (nid := state.get(number)) in ids} for state in states]

    def is_shared(event_id: EventId) -> bool:
        nid, number = graph.places[event_id]
        return all(state.get(number) == nid for state in states)

    difference = graph.cover.difference_of_states(sets, is_shared)
    if version.state_resolution is StateResolution.V2_1:
        difference |= conflicted_subgraph(set.union(*sets), graph.auth_of)
    return difference.difference(stand_ins.values())


@dataclass(slots=True)
class Found:
    """What came of a room's contests under the same circumstances.

    `relied_on` is what the states agreed on and the rules looked at, by key; `decided` what became of what decides;
    `winners` the winner of each other contest, UNSET where nobody may win.
    """

    circumstances: tuple[frozenset[tuple[int, Contest]], frozenset[EventId]]
    relied_on: dict[int, int] = field(default_factory=dict)
    decided: dict[int, int] = field(default_factory=dict)
    winners: dict[Contest, int] = field(default_factory=dict)


class FoundBefore:
    """The findings of the rooms whose branches met lately."""

    def __init__(self) -> None:
        self._by_room: OrderedDict[int, Found] = OrderedDict()

    def of(self, room_nid: int, contests: Contests, difference: Collection[EventId], state: View) -> Found:
        """What was found under these circumstances, or new findings with nothing in them."""
        circumstances = (frozenset(contests.deciding.items()), frozenset(difference))
        found = self._by_room.get(room_nid)
        if found is None or found.circumstances != circumstances or not _still_holds(found, state):
            found = Found(circumstances)
        return found

    def keep(self, room_nid: int, found: Found) -> None:
        if len(found.winners) > WINNERS_MAX:
            self.forget(room_nid)
            return
        self._by_room[room_nid] = found
        self._by_room.move_to_end(room_nid)
        if len(self._by_room) > ROOMS_MAX:
            self._by_room.popitem(last=False)

    def forget(self, room_nid: int) -> None:
        self._by_room.pop(room_nid, None)


def _still_holds(found: Found, state: View) -> bool:
    return all(state.get(number) == nid for number, nid in found.relied_on.items())


def outcome(contests: Contests, found: Found) -> dict[int, int]:
    """The state's changes that the contests, all of them fought, lead to: UNSET where a key has nobody."""
    wanted = {number: found.decided.get(number, UNSET) for number in contests.deciding}
    wanted.update(found.decided)
    wanted.update((number, found.winners[contest]) for number, contest in contests.plain.items())
    return wanted
