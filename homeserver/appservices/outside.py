"""Member events of a service's users in rooms that this server isn't in: invites from other servers, and their end.

They are in no timeline, and so not among the events that the journal's consumers read; a bridge that didn't hear of
them could be invited nowhere but on its own server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from homeserver.appservices.interest import Interest
from homeserver.core.identifiers import ServerName
from homeserver.journal.journal import Entry
from homeserver.storage import appservices, forks
from homeserver.storage.database import Database
from homeserver.storage.events import StoredEvent

# That are remembered for a service that is slow; the oldest go.
HELD_MAX = 50_000


class Outside:
    """Their numbers, until they are told. `hear` is a journal listener."""

    def __init__(self, interest: Interest, db: Database, server_name: ServerName) -> None:
        self._interest = interest
        self._db = db
        self._server_name = server_name
        self._nids: deque[int] = deque(maxlen=HELD_MAX)  # ascending

    async def start(self, position: int) -> None:
        """Takes up what came after a position, before an earlier run ended: the last of each room and user."""
        found = await appservices.outside_members(self._db, position, self._server_name, HELD_MAX)
        self._nids.extend(nid for nid, user_id in found if self._interest.has_user(user_id))

    def hear(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            stored = entry.payload
            if entry.kind != "membership" or not isinstance(stored, StoredEvent):
                continue
            if self._interest.has_user(stored.event.state_key or ""):
                self._nids.append(stored.nid)

    def upto(self, position: int, limit: int) -> list[int]:
        """The oldest of those up to a position."""
        found: list[int] = []
        for nid in self._nids:
            if nid > position or len(found) == limit:
                break
            found.append(nid)
        return found

    def forget(self, position: int) -> None:
        """Told when everything up to a position was told."""
        while self._nids and self._nids[0] <= position:
            self._nids.popleft()

    async def stripped(self, nids: Sequence[int]) -> dict[int, list[dict[str, object]]]:
        """What came with the invites among them: the room's state as its server tells it."""
        return await forks.stripped(self._db, nids) if nids else {}
