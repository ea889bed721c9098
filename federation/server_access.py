"""Which servers this one talks with, by the operator's lists. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from homeserver.core.globs import WholeGlob, fold
from homeserver.core.identifiers import ServerName
from homeserver.core.server_acl import host_of


class ServerAccess:
    """`allow` None means all; what `deny` matches is never talked with. `*` and `?` match parts of a name."""

    def __init__(self, own: ServerName, *, allow: Iterable[str] | None = None, deny: Iterable[str] = ()) -> None:
        self.own = own
        self._allow = [WholeGlob(pattern) for pattern in allow] if allow is not None else None
        self._deny = [WholeGlob(pattern) for pattern in deny]

    def may_talk_with(self, server: str) -> bool:
        """Whether requests to and from this server are allowed; never with ourselves."""
        if server == self.own:
            return False
        name = fold(server)
        # Whoever is shut out doesn't come in by another spelling, or another port.
        spellings = {name, fold(host_of(server))}
        if any(pattern.matches(spelling) for pattern in self._deny for spelling in spellings):
            return False
        return self._allow is None or any(pattern.matches(name) for pattern in self._allow)
