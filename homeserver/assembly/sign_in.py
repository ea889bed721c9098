"""Signing in by OAuth 2.0, and the pages for people."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from homeserver.accounts.cas import CasProvider
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.devices import Devices
from homeserver.accounts.jwt_login import JwtLogin
from homeserver.accounts.login import Login
from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.newcomers import Newcomers, Welcome
from homeserver.accounts.oauth.browser import BrowserSessions, CrossSigningResets
from homeserver.accounts.oauth.clients import OAuthClients
from homeserver.accounts.oauth.grants import Grants
from homeserver.accounts.oauth.tokens import OAuthTokens
from homeserver.accounts.openid_logout import OpenIdLogout
from homeserver.accounts.openid_provider import OpenIdProvider
from homeserver.accounts.passkeys import Passkeys
from homeserver.accounts.password_change import PasswordChange
from homeserver.accounts.registration import Registration
from homeserver.accounts.sso import SignInService, SingleSignOn
from homeserver.accounts.upstream_sessions import UpstreamSessions
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.account_pages import AccountPages, AccountWork
from homeserver.client_api.address_proofs import AddressProofs
from homeserver.client_api.consent_pages import ConsentPages
from homeserver.client_api.forgotten_pages import ForgottenPages
from homeserver.client_api.oauth import OAuthEndpoints, issuer_of
from homeserver.client_api.profile_pages import ProfilePages, ProfileWork
from homeserver.client_api.sign_in_pages import SignInForms, SignInPages
from homeserver.client_api.sign_out import CasSignOut, OpenIdSignOut, SignOutEverywhere
from homeserver.client_api.sso_pages import SsoPages
from homeserver.client_api.sso_stage import SsoStagePages
from homeserver.client_api.visits import Visits
from homeserver.media.repository import MediaRepository
from homeserver.web.pages import Pages

if TYPE_CHECKING:
    from homeserver.accounts.saml import SamlProvider


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInTools:
    """What was built for accounts, and is used here."""

    pages: Pages
    login: Login
    registration: Registration
    deactivation: Deactivation
    resets: CrossSigningResets
    ways: Ways
    passkeys: Passkeys
    proofs: AddressProofs
    change: PasswordChange


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """Ways in that aren't a password."""

    tokens: LoginTokens
    jwt: JwtLogin | None
    sso: SingleSignOn
    openid: Sequence[OpenIdProvider]
    cas: Sequence[CasProvider]
    saml: Mapping[str, SamlProvider]

    def shown(self) -> list[dict[str, str]]:
        """The services as GET /login names them."""
        return [
            {"id": one.id, "name": one.name, **({"brand": one.brand} if one.brand else {})}
            for one in self.sso.providers.values()
        ]


def build_ways(base: Base, accounts: AccountParts, tokens: LoginTokens, welcome: Welcome) -> Ways:
    db, clock, randomness, config = base.world.db, base.world.clock, base.world.randomness, base.config
    newcomers = Newcomers(db, accounts.users, welcome, config.registration.reserved_localparts)
    has_jwt = config.jwt.secret is not None or config.jwt.public_key_path is not None
    saml = _saml(base) if config.saml else {}
    openid = [OpenIdProvider(one, base.outgoing, clock, base_url=config.base_url) for one in config.sso]
    cas = [CasProvider(one, base.outgoing, base_url=config.base_url) for one in config.cas]
    providers: list[SignInService] = [
        *openid,
        *cas,
        *saml.values(),
    ]
    return Ways(
        tokens=tokens,
        jwt=JwtLogin(config.jwt, newcomers, clock) if has_jwt else None,
        sso=SingleSignOn(providers, newcomers, clock, randomness, base_url=config.base_url),
        openid=openid,
        cas=cas,
        saml=saml,
    )


def _saml(base: Base) -> Mapping[str, SamlProvider]:
    # Most servers have no such service: they start without its libraries for XML, 40 ms earlier.
    from homeserver.assembly.saml import saml_providers

    return saml_providers(base)


def _saml_endpoints(base: Base, tools: SignInTools, upstream: UpstreamSessions) -> list[object]:
    from homeserver.assembly.saml import saml_endpoints

    return saml_endpoints(base, tools.ways.saml, tools.ways.sso, upstream, tools.pages)


def sign_in_endpoints(base: Base, accounts: AccountParts, parts: RoomParts, tools: SignInTools) -> list[object]:
    db, clock, randomness = base.world.db, base.world.clock, base.world.randomness
    clients = OAuthClients(db, clock, randomness)
    grants = Grants(db, clients, clock, randomness)
    tokens = OAuthTokens(db, accounts.sessions, clients, grants)
    accounts.sessions.observers.append(tokens)
    browser = BrowserSessions(db, clock, randomness)
    tools.deactivation.endings.append(tools.ways.tokens.end)
    tools.deactivation.endings.append(browser.close_all)
    tools.deactivation.endings.append(tools.passkeys.end)
    visits = Visits(browser, tools.pages, base.config.base_url)
    work = AccountWork(accounts.users, accounts.sessions, browser, tools.deactivation, tools.resets)
    accounts.uia.signs_in_elsewhere = tools.ways.sso.has_service
    devices = Devices(db, parts.journal, accounts.sessions)
    forms = SignInForms(
        visits,
        browser,
        tools.passkeys,
        tools.proofs,
        tools.ways.shown(),
        takes_passwords=base.config.password.login,
    )
    upstream = UpstreamSessions(db, parts.journal, accounts.sessions, clock)
    is_open = tools.registration.is_possible_on_page
    return [
        OAuthEndpoints(clients, grants, tokens, base.config.base_url, is_registration_open=is_open),
        SignInPages(forms, tools.login, tools.registration, base.limiter),
        ForgottenPages(visits, tools.proofs, tools.change, browser),
        SsoPages(visits, tools.ways.sso, browser, tools.ways.tokens, accounts.uia),
        SsoStagePages(visits, tools.ways.sso, accounts.uia),
        *_sign_out(base, tools, upstream),
        SignOutEverywhere(visits, browser, accounts.sessions, upstream, _way_out(base, tools.ways)),
        *(_saml_endpoints(base, tools, upstream) if tools.ways.saml else []),
        ConsentPages(visits, grants, base.limiter, issuer_of(base.config.base_url)),
        AccountPages(visits, devices, work, tools.passkeys, base.limiter),
    ]


def profile_pages(base: Base, accounts: AccountParts, pages: Pages, media: MediaRepository) -> list[object]:
    """The page of one's profile; none where a service beside this server has the account pages."""
    if accounts.delegated is not None:
        return []
    browser = BrowserSessions(base.world.db, base.world.clock, base.world.randomness)
    visits = Visits(browser, pages, base.config.base_url)
    return [ProfilePages(visits, ProfileWork(accounts.profiles, accounts.users, media), base.limiter)]


def _sign_out(base: Base, tools: SignInTools, upstream: UpstreamSessions) -> list[object]:
    """Where services say that somebody has signed out there: those whose configuration allows that."""
    ways, found = tools.ways, list[object]()
    if any(one.config.backchannel_logout_enabled for one in ways.openid):
        found.append(OpenIdSignOut(OpenIdLogout(ways.openid, upstream, base.world.clock)))
    if cas := [one for one in ways.cas if one.config.single_logout]:
        found.append(CasSignOut(cas, upstream))
    return found


def _way_out(base: Base, ways: Ways) -> Callable[[str, bytes], Awaitable[str | None]]:
    """Where somebody signs out at the service of their sign-in."""
    all_ways: list[OpenIdProvider | CasProvider | SamlProvider] = [*ways.openid, *ways.cas, *ways.saml.values()]
    services = {one.provider: one for one in all_ways}

    async def way_out(provider: str, details: bytes) -> str | None:
        service = services.get(provider)
        return await service.way_out(details, base.world.randomness.token(32)) if service is not None else None

    return way_out
