"""Accounts, sessions, profiles and account data."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.account_data import AccountData
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.devices import Devices
from homeserver.accounts.filters import Filters
from homeserver.accounts.login import Login
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.registration import Registration, RegistrationTools, SharedSecretRegistration
from homeserver.accounts.sessions import Sessions, SessionTimes
from homeserver.accounts.uia import Uia
from homeserver.accounts.users import Users
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.account import AccountEndpoints
from homeserver.client_api.account_data import AccountDataEndpoints
from homeserver.client_api.devices import DeviceEndpoints
from homeserver.client_api.filters import FilterEndpoints
from homeserver.client_api.login import LoginEndpoints
from homeserver.client_api.profile import ProfileEndpoints
from homeserver.client_api.registration import RegistrationEndpoints
from homeserver.client_api.server_info import ServerInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParts:
    """Accounts, sessions, profiles and account data, plugged together."""

    users: Users
    passwords: Passwords
    sessions: Sessions
    uia: Uia
    profiles: Profiles
    account_data: AccountData
    filters: Filters


def build_accounts(base: Base, parts: RoomParts, users: Users, passwords: Passwords) -> AccountParts:
    world, db, chosen = base.world, base.world.db, base.config.sessions
    times = SessionTimes(
        access_s=chosen.access_token_lifetime_s,
        refreshable_s=chosen.refreshable_token_lifetime_s,
        refresh_s=chosen.refresh_token_lifetime_s,
        devices_max=chosen.devices_per_user_max,
    )
    uia_s = chosen.user_interactive_auth_lifetime_s
    return AccountParts(
        users=users,
        passwords=passwords,
        sessions=Sessions(db, parts.journal, world.clock, world.randomness, times),
        uia=Uia(users, base.limiter, world.clock, world.randomness, lifetime_s=uia_s),
        profiles=Profiles(db, parts.journal, parts.rooms, parts.submission, base.tasks),
        account_data=AccountData(db, parts.journal),
        filters=Filters(db),
    )


def account_endpoints(base: Base, accounts: AccountParts, parts: RoomParts) -> list[object]:
    db, clock = base.world.db, base.world.clock
    users, sessions, passwords = accounts.users, accounts.sessions, accounts.passwords
    tools = RegistrationTools(base.config.registration, accounts.uia, clock, base.world.randomness)
    registration = Registration(db, users, sessions, passwords, tools)
    by_secret = SharedSecretRegistration(db, users, sessions, passwords, tools)
    login = Login(db, users, sessions, base.limiter)
    deactivation = Deactivation(db, users, sessions, parts.rooms, parts.submission)
    base.tasks.start(deactivation.resume(), name="deactivations")
    base.tasks.forever(sessions.end_as_wished, name="sessions_to_end")
    return [
        ServerInfo(base.config),
        RegistrationEndpoints(registration, by_secret, users, base.limiter),
        LoginEndpoints(login, sessions, is_password_login=base.config.password.login),
        AccountEndpoints(users, passwords, sessions, accounts.uia, deactivation),
        DeviceEndpoints(Devices(db, parts.journal, sessions), sessions, accounts.uia),
        ProfileEndpoints(accounts.profiles),
        AccountDataEndpoints(accounts.account_data),
        FilterEndpoints(accounts.filters),
    ]
