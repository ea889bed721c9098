"""Signing in by OAuth 2.0, and the pages for people."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.devices import Devices
from homeserver.accounts.login import Login
from homeserver.accounts.oauth.browser import BrowserSessions, CrossSigningResets
from homeserver.accounts.oauth.clients import OAuthClients
from homeserver.accounts.oauth.grants import Grants
from homeserver.accounts.oauth.tokens import OAuthTokens
from homeserver.accounts.registration import Registration
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.account_pages import AccountPages, AccountWork
from homeserver.client_api.consent_pages import ConsentPages
from homeserver.client_api.oauth import OAuthEndpoints
from homeserver.client_api.sign_in_pages import SignInPages
from homeserver.client_api.visits import Visits
from homeserver.web.pages import Pages


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInTools:
    """What was built for accounts, and is used here."""

    pages: Pages
    login: Login
    registration: Registration
    deactivation: Deactivation
    resets: CrossSigningResets


def sign_in_endpoints(base: Base, accounts: AccountParts, parts: RoomParts, tools: SignInTools) -> list[object]:
    db, clock, randomness = base.world.db, base.world.clock, base.world.randomness
    clients = OAuthClients(db, clock, randomness)
    grants = Grants(db, clients, clock, randomness)
    tokens = OAuthTokens(db, clock, accounts.sessions, clients, grants)
    accounts.sessions.observers.append(tokens)
    browser = BrowserSessions(db, clock, randomness)
    tools.deactivation.endings.append(browser.close_all)
    visits = Visits(browser, tools.pages, base.config.base_url)
    work = AccountWork(accounts.users, accounts.sessions, browser, tools.deactivation, tools.resets)
    devices = Devices(db, parts.journal, accounts.sessions)
    is_open = tools.registration.is_possible_on_page
    return [
        OAuthEndpoints(clients, grants, tokens, base.config.base_url, is_registration_open=is_open),
        SignInPages(visits, browser, tools.login, tools.registration, base.limiter),
        ConsentPages(visits, grants, base.limiter),
        AccountPages(visits, devices, work, base.limiter),
    ]
