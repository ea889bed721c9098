"""What an event of a policy list says, in the spec's words and in those that moderation bots used before it. Pure.

spec: client-server-api/#moderation-policy-lists
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KINDS = ("user", "room", "server")
ENTITY_CHARS_MAX = 512
REASON_CHARS_MAX = 500
TYPE = "m.policy.rule."
# Mjolnir and Draupnir still read all of these, and lists that were begun long ago are full of them.
PREFIXES = (TYPE, "org.matrix.mjolnir.rule.", "m.room.rule.")
BAN, TAKEDOWN = "m.ban", "org.matrix.msc4204.takedown"
BANNING = (BAN, "org.matrix.mjolnir.ban", "m.takedown", TAKEDOWN)
HASHES = "org.matrix.msc4205.hashes"
_HASHES = ("hashes", HASHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRule:
    """Whom a list wants kept out: `entity` by name or glob, or by the SHA-256 of the name alone."""

    kind: str
    entity: str = ""
    sha256: str = ""  # base64 without padding, of the standard alphabet
    reason: str = ""
    recommendation: str = BAN

    @property
    def is_glob(self) -> bool:
        return "*" in self.entity or "?" in self.entity

    def names(self, kind: str, entity: str) -> bool:
        """Whether this is the rule about that entity, as it was written: globs aren't matched."""
        return kind == self.kind and (self.entity == entity or (bool(self.sha256) and self.sha256 == digest(entity)))


def rule_of(type: str, content: Mapping[str, Any]) -> ListRule | None:
    """None for what is no rule, was taken back, or recommends what nobody here does."""
    prefix = next((prefix for prefix in PREFIXES if type.startswith(prefix)), None)
    kind = type.removeprefix(prefix) if prefix is not None else ""
    recommendation = content.get("recommendation")
    if kind not in KINDS or recommendation not in BANNING:
        return None
    entity, reason = content.get("entity"), content.get("reason")
    named = entity if isinstance(entity, str) and 0 < len(entity) <= ENTITY_CHARS_MAX else ""
    hashed = next((found for key in _HASHES if (found := _sha256(content.get(key)))), "")
    if not named and not hashed:
        return None
    return ListRule(
        kind=kind,
        entity=named,
        sha256=hashed,
        reason=reason[:REASON_CHARS_MAX] if isinstance(reason, str) else "",
        recommendation=str(recommendation),
    )


def digest(entity: str) -> str:
    """What stands for a name in lists that don't tell it."""
    hashed = hashlib.sha256(entity.encode("utf-8", "replace")).digest()
    return base64.b64encode(hashed).decode().rstrip("=")


def state_key_of(entity: str, recommendation: str) -> str:
    """The state key under which bots keep a rule, which doesn't tell the name."""
    return base64.b64encode(hashlib.sha256(f"{entity}{recommendation}".encode()).digest()).decode()


def _sha256(hashes: object) -> str:
    found = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(found, str) or len(found) >= 64:
        return ""
    return found.rstrip("=").replace("-", "+").replace("_", "/")
