"""Signing in by SAML. Imported where a service is configured: its libraries for XML take 40 ms and 7 MiB."""

from __future__ import annotations

from collections.abc import Mapping

from homeserver.accounts.saml import BadMetadata, OurKeys, SamlProvider, read_metadata, read_opener
from homeserver.accounts.sso import SingleSignOn
from homeserver.accounts.upstream_sessions import UpstreamSessions
from homeserver.assembly.base import Base
from homeserver.client_api.saml_pages import SamlEndpoints
from homeserver.client_api.saml_sign_out import SamlSignOut
from homeserver.config import ConfigError, Problem
from homeserver.config.sign_in import SamlService
from homeserver.runtime.clock import Clock
from homeserver.web.pages import Pages


def saml_providers(base: Base) -> dict[str, SamlProvider]:
    """By id. Raises ConfigError where the metadata of one can't be used."""
    return {one.id: _provider(one, base.world.clock, base.config.base_url) for one in base.config.saml}


def saml_endpoints(
    base: Base, providers: Mapping[str, SamlProvider], sso: SingleSignOn, upstream: UpstreamSessions, pages: Pages
) -> list[object]:
    """Where browsers bring answers, and, where a service is configured so, word of who has signed out there."""
    found: list[object] = [SamlEndpoints(providers, sso)]
    if any(one.config.single_logout for one in providers.values()):
        found.append(SamlSignOut(providers, upstream, pages, base.world.randomness))
    return found


def _provider(config: SamlService, clock: Clock, base_url: str) -> SamlProvider:
    """Raises ConfigError where the provider's metadata can't be used."""
    assert config.metadata_path is not None
    try:
        provider = read_metadata(config.metadata_path)
        opener, signer = (
            read_opener(path) if path is not None else None for path in (config.encryption_path, config.signing_path)
        )
    except BadMetadata as error:
        raise ConfigError(
            [
                Problem(
                    str(error),
                    "put the file there anew: the identity provider's metadata, or our key for what it encrypts",
                )
            ]
        ) from None
    return SamlProvider(config, provider, clock, base_url=base_url, keys=OurKeys(opener=opener, signer=signer))
