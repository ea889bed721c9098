"""What every area is built from."""

from __future__ import annotations

from dataclasses import dataclass, field

from homeserver.config import Config
from homeserver.core.identifiers import ServerName
from homeserver.core.signing import Signer
from homeserver.ports import ContentKeeper
from homeserver.runtime.bell import Bell
from homeserver.runtime.clock import Clock
from homeserver.runtime.disk import Disk, SystemDisk
from homeserver.runtime.ids import Randomness
from homeserver.runtime.metrics import Metrics
from homeserver.runtime.tasks import Tasks
from homeserver.storage.database import Database
from homeserver.web.dns import Dns
from homeserver.web.outgoing import Outgoing
from homeserver.web.rate_limits import RateLimiter
from search.upkeep.rebuilding import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All that a simulation replaces. Without a network of its own, it is the one of this machine."""

    clock: Clock
    randomness: Randomness
    db: Database
    outgoing: Outgoing | None = None
    dns: Dns | None = None
    disk: Disk = field(default_factory=SystemDisk)
    # What keeps the words of messages, where it isn't as the configuration says.
    words: Engine | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Base:
    """What was there before any area: the configuration, the world, and what all of them report to."""

    config: Config
    world: World
    signer: Signer
    tasks: Tasks
    metrics: Metrics
    limiter: RateLimiter
    outgoing: Outgoing
    dns: Dns

    # The paths of all endpoints, once the server listens.
    served: set[str] = field(default_factory=set)
    # Where content lies beside the database, by name: whoever erases goes to each of them.
    keepers: dict[str, ContentKeeper] = field(default_factory=dict)
    # Rung when something is said against somebody: a report, a rule's act, an appeal, a refusal.
    complaints: Bell = field(default_factory=Bell)

    @property
    def server_name(self) -> ServerName:
        return ServerName(self.config.server_name)
