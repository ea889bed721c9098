"""Users of other servers who are shown as online. Where there is no room for all, servers share it alike.

However many servers fill it, one that has fewer users there than another has room: of the server with the most, the one
who was told of longest ago makes way. (By what users share with ours nobody is preferred: it would take a query for
each, and a crowd that fills rooms here would come first.)
"""

from __future__ import annotations

from collections import OrderedDict

from homeserver.core.identifiers import ServerName, UserId, domain_of


class Places:
    """Who is there, by server. Whatever is asked costs the same, however many there are."""

    def __init__(self) -> None:
        self.total = 0
        self._of: dict[ServerName, OrderedDict[UserId, None]] = {}  # who was told of longest ago first
        self._by_count: dict[int, dict[ServerName, None]] = {}
        self._most = 0

    def count(self, server: ServerName) -> int:
        return len(self._of.get(server, ()))

    def told(self, user_id: UserId) -> None:
        """This one is there, and was just told of."""
        server = domain_of(user_id)
        here = self._of.setdefault(server, OrderedDict())
        if user_id in here:
            here.move_to_end(user_id)
            return
        here[user_id] = None
        self._moved(server, len(here) - 1, len(here))

    def gone(self, user_id: UserId) -> None:
        """Nothing happens if the user isn't there."""
        server = domain_of(user_id)
        here = self._of.get(server)
        if here is None or user_id not in here:
            return
        del here[user_id]
        self._moved(server, len(here) + 1, len(here))
        if not here:
            del self._of[server]

    def first_to_go(self, server: ServerName) -> UserId | None:
        """Who makes way for one more of a server; None where no server has more than it would have then."""
        if self._most <= self.count(server) + 1:
            return None
        fullest = next(iter(self._by_count[self._most]))
        return next(iter(self._of[fullest]))

    def _moved(self, server: ServerName, before: int, after: int) -> None:
        self.total += after - before
        if before:
            alike = self._by_count[before]
            del alike[server]
            if not alike:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, {})[server] = None
        if after > self._most or self._most not in self._by_count:
            self._most = after  # of one step each: there is none between
