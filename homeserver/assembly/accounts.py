"""Accounts, sessions, profiles and account data."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.account_data import AccountData
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.delegated import AuthenticationService, DelegatedSessions
from homeserver.accounts.filters import Filters
from homeserver.accounts.oauth.browser import CrossSigningResets
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.sessions import Sessions, SessionTimes
from homeserver.accounts.successors import RoomRules, RoomSuccessors
from homeserver.accounts.uia import Uia
from homeserver.accounts.users import Users
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.web.outgoing import Outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountParts:
    """Accounts, sessions, profiles and account data, plugged together."""

    users: Users
    passwords: Passwords
    sessions: Sessions
    uia: Uia
    resets: CrossSigningResets
    profiles: Profiles
    account_data: AccountData
    filters: Filters
    deactivation: Deactivation
    # In place of `sessions`, where people sign in at a service beside this server.
    delegated: DelegatedSessions | None


def build_accounts(
    base: Base, parts: RoomParts, users: Users, passwords: Passwords, to_our_services: Outgoing
) -> AccountParts:
    world, db, chosen = base.world, base.world.db, base.config.sessions
    times = SessionTimes(
        access_s=chosen.access_token_lifetime_s,
        refreshable_s=chosen.refreshable_token_lifetime_s,
        refresh_s=chosen.refresh_token_lifetime_s,
        devices_max=chosen.devices_per_user_max,
    )
    uia_s = chosen.user_interactive_auth_lifetime_s
    sessions = Sessions(db, parts.journal, world.clock, world.randomness, times)
    account_data = AccountData(db, parts.journal)
    sessions.endings.append(account_data.devices_deleted)
    return AccountParts(
        users=users,
        passwords=passwords,
        sessions=sessions,
        uia=Uia(users, base.limiter, world.clock, world.randomness, lifetime_s=uia_s),
        resets=CrossSigningResets(world.clock),
        profiles=Profiles(db, parts.journal, parts.rooms, parts.submission, base.tasks),
        account_data=account_data,
        filters=Filters(db),
        deactivation=Deactivation(db, users, sessions, parts.rooms, parts.submission),
        delegated=_delegated(base, sessions, to_our_services),
    )


def _delegated(base: Base, sessions: Sessions, outgoing: Outgoing) -> DelegatedSessions | None:
    if base.config.mas.endpoint is None:
        return None
    clock = base.world.clock
    service = AuthenticationService(base.config.mas, outgoing, clock)
    return DelegatedSessions(service, sessions, base.world.db, clock, base.server_name)


def follow_successors(base: Base, accounts: AccountParts, parts: RoomParts, rules: RoomRules) -> None:
    """From now on, what users set for a room goes over to the one that replaces it."""
    successors = RoomSuccessors(parts.rooms, rules, accounts.account_data, base.server_name)
    parts.journal.listen(successors.hear)
    base.tasks.forever(successors.run, name="room_successors")
