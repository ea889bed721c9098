"""The endpoints over accounts, sessions, profiles and account data."""

from __future__ import annotations

from functools import partial

from homeserver.accounts.bridged import BridgedAccounts
from homeserver.accounts.devices import Devices
from homeserver.accounts.directory_login import DirectoryLogin
from homeserver.accounts.login import Login
from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.passkeys import Passkeys
from homeserver.accounts.password_change import PasswordChange
from homeserver.accounts.profile_access import ProfileAccess
from homeserver.accounts.proof_of_work import ProofOfWork
from homeserver.accounts.registration import Registration, RegistrationTools, SharedSecretRegistration
from homeserver.accounts.rendezvous import Rendezvous
from homeserver.accounts.uia import WORK
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.calls import transports_of
from homeserver.assembly.contacts import ContactParts
from homeserver.assembly.rooms import RoomParts
from homeserver.assembly.sign_in import SignInTools, build_ways, sign_in_endpoints
from homeserver.client_api.account import AccountEndpoints
from homeserver.client_api.account_data import AccountDataEndpoints
from homeserver.client_api.delegated import DelegatedSignIn
from homeserver.client_api.devices import DeviceEndpoints
from homeserver.client_api.fallback_pages import FallbackPages
from homeserver.client_api.filters import FilterEndpoints
from homeserver.client_api.login import LoginEndpoints, OtherWays
from homeserver.client_api.login_token import LoginTokenEndpoint
from homeserver.client_api.profile import ProfileEndpoints
from homeserver.client_api.registration import AppserviceRegistration, RegistrationEndpoints
from homeserver.client_api.rendezvous import DataRendezvousEndpoints, RendezvousEndpoints
from homeserver.client_api.server_info import ServerInfo
from homeserver.ports import Bridges
from homeserver.rooms.commands.auto_join import AutoJoin
from homeserver.storage import experimental_features

# Hashes that a captcha takes that a rule asks for, where the configuration asks for none: about a second.
WORK_WHEN_ASKED = 200_000


def account_endpoints(
    base: Base, accounts: AccountParts, parts: RoomParts, contacts: ContactParts, bridges: Bridges, door: AutoJoin
) -> list[object]:
    db, clock = base.world.db, base.world.clock
    users, sessions, passwords = accounts.users, accounts.sessions, accounts.passwords
    tools = RegistrationTools(
        base.config.registration,
        accounts.uia,
        clock,
        base.world.randomness,
        contacts.proofs,
        contacts.captcha,
        *_work(base, accounts),
        door.welcome,
    )
    registration = Registration(db, users, sessions, passwords, tools)
    bridged = BridgedAccounts(db, users, sessions, bridges)
    users.check_reserved = bridges.check_user
    lifetime_s = base.config.sessions.login_token_lifetime_s
    tokens = LoginTokens(db, clock, base.world.randomness, lifetime_s=lifetime_s)
    login = Login(db, users, sessions, tokens, base.limiter)
    if (url := base.config.ldap.url) is not None:
        # Most servers have no directory: they start without its library, 40 ms earlier.
        from homeserver.web.ldap import LdapDirectory

        users.elsewhere = DirectoryLogin(LdapDirectory(url, base.config.ldap, clock), db, users, door.welcome)
    passkeys = Passkeys(db, clock, base.world.randomness, base.config.base_url, base.server_name)
    login.needs_more = passkeys.is_required
    login.abuse = registration.abuse = contacts.contacts.abuse = parts.policy
    deactivation = accounts.deactivation
    base.tasks.start(deactivation.resume(), name="deactivations")
    base.tasks.forever(sessions.end_as_wished, name="sessions_to_end")
    deactivation.endings.append(contacts.bindings.end)
    change = PasswordChange(users, sessions, accounts.uia, contacts.proofs)
    ways = build_ways(base, accounts, tokens, door.welcome)
    other = OtherWays(ways.jwt, ways.shown(), base.limiter, is_password_login=base.config.password.login)
    sign_in = SignInTools(
        pages=contacts.pages,
        login=login,
        registration=registration,
        deactivation=deactivation,
        resets=accounts.resets,
        ways=ways,
        passkeys=passkeys,
        proofs=contacts.address_proofs,
        change=change,
    )
    info = ServerInfo(base.config, base.served, transports_of(base.config))
    info.features_of = partial(experimental_features.of_user, db)
    own_devices = DeviceEndpoints(Devices(db, parts.journal, sessions), sessions, accounts.uia)
    if accounts.delegated is not None:
        info.sign_in, own_devices.delegated = accounts.delegated.service.metadata, True
    return [
        *_entrance(base, accounts, parts, sign_in, bridged),
        info,
        RendezvousEndpoints(Rendezvous(base.world.clock, base.world.randomness), base.config.base_url),
        DataRendezvousEndpoints(Rendezvous(base.world.clock, base.world.randomness)),
        LoginEndpoints(login, bridged, sessions, other),
        LoginTokenEndpoint(tokens, accounts.uia),
        AccountEndpoints(change, accounts.uia, deactivation, parts.policy),
        own_devices,
        ProfileEndpoints(accounts.profiles, bridges, ProfileAccess(db, base.config.profiles.lookups)),
        AccountDataEndpoints(accounts.account_data),
        FilterEndpoints(accounts.filters),
        FallbackPages(accounts.uia, contacts.pages, base.limiter, contacts.address_proofs, contacts.captcha),
    ]


def _entrance(
    base: Base, accounts: AccountParts, parts: RoomParts, sign_in: SignInTools, bridged: BridgedAccounts
) -> list[object]:
    """Where people register and sign in: here, or at the service beside this server."""
    if accounts.delegated is not None:
        return [DelegatedSignIn(accounts.delegated.service), AppserviceRegistration(bridged)]
    registration = sign_in.registration
    by_secret = SharedSecretRegistration(
        base.world.db, accounts.users, accounts.sessions, accounts.passwords, registration.tools
    )
    return [
        *sign_in_endpoints(base, accounts, parts, sign_in),
        RegistrationEndpoints(registration, by_secret, bridged, accounts.users, base.limiter),
    ]


def _work(base: Base, accounts: AccountParts) -> tuple[ProofOfWork | None, ProofOfWork | None]:
    """What whoever registers has to do: everybody, or those whom a spam rule asks for it."""
    chosen = base.config.captcha.proof_of_work
    work = ProofOfWork(chosen or WORK_WHEN_ASKED, base.world.clock, base.world.randomness)
    accounts.uia.add_stage(WORK, work.stage)
    return (work, None) if chosen else (None, work)
