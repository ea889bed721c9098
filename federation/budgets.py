"""How much work one server may give us for one room: what it makes us ask, it can make us ask without end."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, ServerName
from homeserver.runtime.clock import Clock

QUESTIONS_MAX = 300
WINDOW_S = 60.0
_KEPT_MAX = 10_000


@dataclass(slots=True)
class _Spent:
    since_s: float
    questions: int = 0


class Budget:
    """So many questions to a server about a room within a minute; then it is over until the minute is."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spent: OrderedDict[tuple[ServerName, RoomId], _Spent] = OrderedDict()

    def spend(self, server: ServerName, room_id: RoomId) -> bool:
        """Counts a question. False: it is one too many."""
        now_s = self._clock.monotonic_s()
        spent = self._spent.get((server, room_id))
        if spent is None or now_s - spent.since_s >= WINDOW_S:
            spent = self._spent[server, room_id] = _Spent(now_s)
        self._spent.move_to_end((server, room_id))
        if len(self._spent) > _KEPT_MAX:
            self._spent.popitem(last=False)
        spent.questions += 1
        return spent.questions <= QUESTIONS_MAX
