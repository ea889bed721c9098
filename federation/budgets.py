"""How much work one server may give us for one room: what it makes us ask, it can make us ask without end."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from homeserver.core.identifiers import RoomId, ServerName
from homeserver.runtime.clock import Clock

QUESTIONS_MAX = 300
WINDOW_S = 60.0
# A room's intake waits so long for what one server's events lack: at once, and then this share of the time.
WAITING_S_MAX = 120.0
WAITING_SHARE = 0.2
_KEPT_MAX = 10_000


class NoPatience(Exception):
    """A room has waited long enough for the sake of one server's events, for now."""


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


@dataclass(slots=True)
class _Waited:
    at_s: float
    seconds: float = 0.0


class Patience:
    """How long a room waits for what the events of one server lack, whoever is asked for it.

    A room takes its events one after the other: a server that answers slowly, or not at all, would hold up what all
    the others have to say there. Used up, it comes back with time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waited: OrderedDict[tuple[ServerName, RoomId], _Waited] = OrderedDict()

    @asynccontextmanager
    async def waiting(self, server: ServerName, room_id: RoomId) -> AsyncIterator[None]:
        """Around what is waited for; it is ended when the time is over. Raises NoPatience, also instead of beginning.

        Only for what can be given up at any moment: questions, and the checks of answers.
        """
        began_s = self._clock.monotonic_s()
        left_s = WAITING_S_MAX - self._now_waited(server, room_id, began_s).seconds
        if left_s <= 0:
            raise NoPatience
        limit = asyncio.timeout(left_s)
        try:
            async with limit:
                yield
        except TimeoutError:
            if limit.expired():
                raise NoPatience from None
            raise
        finally:
            now_s = self._clock.monotonic_s()
            self._now_waited(server, room_id, now_s).seconds += now_s - began_s

    def _now_waited(self, server: ServerName, room_id: RoomId, now_s: float) -> _Waited:
        waited = self._waited.setdefault((server, room_id), _Waited(now_s))
        waited.seconds = max(waited.seconds - (now_s - waited.at_s) * WAITING_SHARE, 0.0)
        waited.at_s = now_s
        self._waited.move_to_end((server, room_id))
        if len(self._waited) > _KEPT_MAX:
            self._waited.popitem(last=False)
        return waited
