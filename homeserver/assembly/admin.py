"""Administration: roles, the audit log, the admin API."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.access import AccountAccess
from admin.actions.accounts import Accounts
from admin.actions.four_eyes import FourEyes
from admin.actions.mas import MasAccounts
from admin.actions.operator_tokens import OperatorTokens
from admin.actions.operators import OperatorRoles
from admin.actions.registration_tokens import RegistrationTokens
from admin.actions.sanctions import Sanctions
from admin.actions.targets import AccountTools
from admin.api.approvals import ApprovalEndpoints
from admin.api.mas import MasDeviceEndpoints, MasUserEndpoints
from admin.api.media_statistics import MediaStatistics
from admin.api.operator_tokens import OperatorTokenEndpoints
from admin.api.operators import AuditEndpoints, OperatorEndpoints
from admin.api.registration_tokens import RegistrationTokenEndpoints
from admin.api.server import ServerEndpoints
from admin.api.server_notices import ServerNoticeEndpoints
from admin.api.spec_moderation import SpecModeration
from admin.api.user_acts import AccountActEndpoints, SanctionEndpoints
from admin.api.user_devices import UserDeviceEndpoints
from admin.api.user_reads import UserReadEndpoints
from admin.api.users import UserEndpoints
from admin.audit import AuditLog
from admin.console.desk import Desk
from admin.console.users import UserActs
from admin.totals import Totals
from homeserver.accounts.devices import Devices
from homeserver.accounts.newcomers import Welcome
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.admin_evidence import EvidenceParts, build_evidence
from homeserver.assembly.admin_oversight import OversightParts, build_oversight
from homeserver.assembly.admin_rooms import AdminRoomParts, build_admin_rooms
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.console import ConsoleActs, build_desk, console_endpoints
from homeserver.assembly.federation import FederationParts
from homeserver.assembly.media import MediaParts
from homeserver.assembly.people import PeopleParts
from homeserver.assembly.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminParts:
    """What others may use of it, and the endpoints."""

    audit: AuditLog
    desk: Desk
    four_eyes: FourEyes
    roles: OperatorRoles
    tools: AccountTools
    accounts: Accounts
    sanctions: Sanctions
    rooms: AdminRoomParts
    oversight: OversightParts
    evidence: EvidenceParts
    endpoints: list[object]
    # The specification's own: served with the client API.
    for_clients: list[object]


async def build_admin(
    base: Base,
    accounts: AccountParts,
    parts: RoomParts,
    commands: CommandParts,
    people: PeopleParts,
    media: MediaParts,
    federation: FederationParts | None,
) -> AdminParts:
    """Served where a listener names the API `admin`."""
    db, clock = base.world.db, base.world.clock
    audit = AuditLog(clock)
    roles = OperatorRoles(db, audit, accounts.sessions.account_changed, clock)
    four_eyes = FourEyes(db, audit, clock, base.world.randomness, base.config.admin.second_operator_for)
    tools = AccountTools(
        db=db,
        clock=clock,
        audit=audit,
        roles=roles,
        users=accounts.users,
        sessions=accounts.sessions,
        four_eyes=four_eyes,
    )
    changes = _changes(tools, accounts, commands.auto_join.welcome)
    access = AccountAccess(tools, Devices(db, parts.journal, accounts.sessions), accounts.resets)
    sanctions = Sanctions(tools, parts.shadow_bans, base.limiter)
    await sanctions.load()
    tokens = RegistrationTokens(db, audit, clock, base.world.randomness)
    rooms = await build_admin_rooms(base, parts, commands, audit, four_eyes)
    oversight = build_oversight(base, parts, media, federation, audit)
    acts = ConsoleActs(
        audit=audit,
        users=UserActs(changes, access, sanctions),
        tokens=tokens,
        notices=people.notices,
        rooms=rooms,
        four_eyes=four_eyes,
        oversight=oversight,
    )
    evidence = build_evidence(base, parts, media, accounts.deactivation, tools, rooms.jobs)
    desk = build_desk(base, accounts, parts, audit)
    for_mas = _mas_endpoints(base, accounts, parts, tools, commands.auto_join.welcome)
    await rooms.jobs.start()
    return AdminParts(
        audit=audit,
        desk=desk,
        four_eyes=four_eyes,
        roles=roles,
        rooms=rooms,
        oversight=oversight,
        evidence=evidence,
        tools=tools,
        accounts=changes,
        sanctions=sanctions,
        for_clients=[SpecModeration(people.moderation, sanctions), *for_mas],
        endpoints=[
            OperatorEndpoints(roles),
            AuditEndpoints(db, audit),
            ApprovalEndpoints(four_eyes),
            *rooms.endpoints,
            *oversight.endpoints,
            *evidence.endpoints,
            ServerNoticeEndpoints(db, audit, people.notices),
            OperatorTokenEndpoints(OperatorTokens(tools, base.world.randomness)),
            *console_endpoints(base, desk, parts, acts, roles),
            *_account_endpoints(tools, acts, people, accounts),
            ServerEndpoints(tools),
            MediaStatistics(db),
        ],
    )


def _changes(tools: AccountTools, accounts: AccountParts, welcome: Welcome) -> Accounts:
    changes = Accounts(tools, accounts.profiles, accounts.passwords, accounts.deactivation, welcome)
    changes.is_delegated = accounts.delegated is not None
    return changes


def _mas_endpoints(
    base: Base, accounts: AccountParts, parts: RoomParts, tools: AccountTools, welcome: Welcome
) -> list[object]:
    """What a Matrix Authentication Service calls, where there is one."""
    if accounts.delegated is None:
        return []
    acts = MasAccounts(tools, accounts.profiles, accounts.deactivation, accounts.resets, welcome)
    devices = Devices(base.world.db, parts.journal, accounts.sessions)
    return [
        MasUserEndpoints(acts, base.config.registration.reserved_localparts),
        MasDeviceEndpoints(acts, devices, accounts.sessions),
    ]


def _account_endpoints(
    tools: AccountTools, acts: ConsoleActs, people: PeopleParts, accounts: AccountParts
) -> list[object]:
    users = acts.users
    return [
        UserEndpoints(tools.db, users.accounts, accounts.users, tools.sessions, Totals(tools.clock)),
        AccountActEndpoints(users.accounts, users.access, tools.roles),
        SanctionEndpoints(users.sanctions),
        UserDeviceEndpoints(tools, users.access),
        UserReadEndpoints(tools, people.moderation),
        RegistrationTokenEndpoints(acts.tokens),
    ]
