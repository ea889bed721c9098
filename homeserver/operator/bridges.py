"""Whether the registrations of bridges can be used."""

from __future__ import annotations

from homeserver.appservices.registration import BadRegistration
from homeserver.appservices.registry import Registry, read_all
from homeserver.config import Config
from homeserver.core.identifiers import ServerName
from homeserver.runtime.findings import Finding, failed, well

_HINT = "correct the file, or take it out of `appservices.registration_paths`"


async def bridge_findings(config: Config) -> list[Finding]:
    """Nothing where there are no bridges."""
    paths = config.appservices.registration_paths
    if not paths:
        return []
    name = ServerName(config.server_name)
    registry = Registry(name)
    try:
        registry.replace(await read_all(paths, name))
    except BadRegistration as error:
        return [failed("bridges", str(error), _HINT)]
    return [well("bridges", ", ".join(one.id for one in registry.services))]
