"""Whose invites a user takes. spec: client-server-api/#invite-permission, and MSC4155 by user, server and pattern."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from homeserver.core.globs import WholeGlob, fold
from homeserver.core.identifiers import domain_of

KIND = "m.invite_permission_config"
# With lists of patterns; they count in an entry of the stable name too.
UNSTABLE_KIND = "org.matrix.msc4155.invite_permission_config"
KINDS = (KIND, UNSTABLE_KIND)
PATTERNS_MAX = 1_000
PATTERN_CHARS_MAX = 255


class InviteVerdict(Enum):
    """TAKE, IGNORE (the inviter isn't told, the invited isn't shown it), BLOCK (the inviter is refused)."""

    TAKE = "take"
    IGNORE = "ignore"
    BLOCK = "block"


class InvitePermissions:
    """One user's wishes, ready to be asked. Users come before servers; taking before ignoring before blocking."""

    __slots__ = ("_blocks_all", "_lists")

    def __init__(self, contents: Mapping[str, Mapping[str, Any]]) -> None:
        """`contents`: account data by kind. What is malformed in it counts as not there."""
        stable, unstable = contents.get(KIND, {}), contents.get(UNSTABLE_KIND, {})
        self._blocks_all = stable.get("default_action") == "block"
        self._lists: list[tuple[bool, InviteVerdict, list[WholeGlob]]] = []
        for of_users, noun in ((True, "users"), (False, "servers")):
            for verdict, verb in (
                (InviteVerdict.TAKE, "allowed"),
                (InviteVerdict.IGNORE, "ignored"),
                (InviteVerdict.BLOCK, "blocked"),
            ):
                patterns = [
                    pattern
                    for content in (stable, unstable)
                    if content.get("enabled") is not False
                    for pattern in _patterns(content.get(f"{verb}_{noun}"))
                ]
                if patterns:
                    self._lists.append((of_users, verdict, patterns))

    @property
    def is_plain(self) -> bool:
        """Whether every invite is taken."""
        return not self._lists and not self._blocks_all

    def verdict(self, inviter: str) -> InviteVerdict:
        """What becomes of an invite by this user. Ports count, case doesn't."""
        user, server = fold(inviter), fold(domain_of(inviter))
        for of_users, verdict, patterns in self._lists:
            if any(pattern.matches(user if of_users else server) for pattern in patterns):
                return verdict
        return InviteVerdict.BLOCK if self._blocks_all else InviteVerdict.TAKE


def _patterns(value: object) -> list[WholeGlob]:
    if not isinstance(value, list):
        return []
    return [
        WholeGlob(entry)
        for entry in value[:PATTERNS_MAX]
        if isinstance(entry, str) and 0 < len(entry) <= PATTERN_CHARS_MAX
    ]
