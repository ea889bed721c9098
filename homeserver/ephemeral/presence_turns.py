"""In which order changes of presence are told: ours first, then those of other servers, each server in its turn.

However much one server says of its users, another one's change waits for as many others as there are servers.
"""

from __future__ import annotations

from collections import OrderedDict

from homeserver.core.identifiers import ServerName, UserId, domain_of

# So many of those that are told at once may be users of other servers.
ELSEWHERE_MAX = 250


class Turns:
    """Users whose change waits to be told, each once."""

    def __init__(self) -> None:
        self._ours: dict[UserId, None] = {}
        self._elsewhere: OrderedDict[ServerName, dict[UserId, None]] = OrderedDict()

    def add(self, user_id: UserId, *, is_elsewhere: bool) -> None:
        """Nothing happens if the user waits already."""
        if is_elsewhere:
            self._elsewhere.setdefault(domain_of(user_id), {})[user_id] = None
        else:
            self._ours[user_id] = None

    def __contains__(self, user_id: UserId) -> bool:
        return user_id in self._ours or user_id in self._elsewhere.get(domain_of(user_id), ())

    def take(self, most: int) -> list[UserId]:
        """The next ones, who wait no longer. Its cost is that of `most`, however many wait."""
        elsewhere: list[UserId] = []
        while self._elsewhere and len(elsewhere) < min(ELSEWHERE_MAX, most):
            server, waiting = self._elsewhere.popitem(last=False)
            elsewhere.append(_first(waiting))
            if waiting:
                self._elsewhere[server] = waiting
        taken: list[UserId] = []
        while self._ours and len(taken) + len(elsewhere) < most:
            taken.append(_first(self._ours))
        return taken + elsewhere


def _first(waiting: dict[UserId, None]) -> UserId:
    user_id = next(iter(waiting))
    del waiting[user_id]
    return user_id
