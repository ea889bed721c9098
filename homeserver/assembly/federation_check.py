"""The check of how servers are found and trusted, plugged into this machine's network."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

from federation.check import FederationCheck, Ways
from federation.discovery import Discovery
from homeserver.assembly.network import build_outgoing
from homeserver.config import Config
from homeserver.core.identifiers import ServerName
from homeserver.runtime.clock import Clock
from homeserver.runtime.findings import Finding
from homeserver.runtime.ids import Randomness
from homeserver.runtime.signing_key import WrongSigningKey, load_signer
from homeserver.runtime.tls_probe import SystemTlsProbe
from homeserver.web.dns import SystemDns


async def check_federation(
    config: Config, clock: Clock, randomness: Randomness, name: str
) -> AsyncGenerator[Finding, None]:
    """What `FederationCheck` finds, looking out of this machine. Raises NoServerName."""
    outgoing, dns = build_outgoing(config), SystemDns()
    tls = SystemTlsProbe(config.federation.ca_path)
    discovery = Discovery(outgoing, dns, clock, randomness)
    own = None
    # Not to be made by the way: who only looks may be another user, on another machine.
    if config.signing_key_path.exists():
        with contextlib.suppress(WrongSigningKey, OSError):
            own = load_signer(config.signing_key_path, ServerName(config.server_name), randomness)
    try:
        check = FederationCheck(config, Ways(outgoing=outgoing, dns=dns, tls=tls), discovery, clock, own)
        async for finding in check.findings(name):
            yield finding
    finally:
        await outgoing.close()
        await dns.close()
