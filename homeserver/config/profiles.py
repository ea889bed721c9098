"""Options of profiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from homeserver.config.options import option


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiles:
    """What people tell of themselves."""

    lookups: Literal["everyone", "users", "sharing"] = option(
        "everyone",
        "Who may look up profiles: everyone, those who have logged in (and other servers), or those alone who share a "
        "room with that user.",
    )
