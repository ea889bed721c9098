"""The web console, plugged together."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from urllib.parse import quote

from admin.actions.four_eyes import FourEyes
from admin.actions.operators import OperatorRoles
from admin.actions.registration_tokens import RegistrationTokens
from admin.audit import AuditLog
from admin.bound_rooms import BoundRooms
from admin.console.approvals import ApprovalPages
from admin.console.assets import Assets
from admin.console.audit_pages import AuditPages
from admin.console.configuration import ConfigurationPages
from admin.console.desk import Desk
from admin.console.entry import EntryPages
from admin.console.federation import FederationPages
from admin.console.jobs import JobPages
from admin.console.media import MediaPages
from admin.console.notices import NoticePages
from admin.console.operators import OperatorPages
from admin.console.overview import iso, size
from admin.console.registration_tokens import RegistrationTokenPages
from admin.console.reports import ReportPages
from admin.console.room_acts import RoomActPages
from admin.console.rooms import RoomPages
from admin.console.sessions import ConsoleDoor, ConsoleSessions
from admin.console.texts import say
from admin.console.tracing import TracePages
from admin.console.users import UserActs, UserPages
from homeserver.accounts.login import Login
from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.server_notices import ServerNotices
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.admin_oversight import OversightParts
from homeserver.assembly.admin_rooms import AdminRoomParts
from homeserver.assembly.base import Base
from homeserver.assembly.federation_check import check_federation
from homeserver.assembly.rooms import RoomParts
from homeserver.web.pages import Pages

# What pages may beyond our other ones: the console's own script, and what it asks.
_POLICY = "script-src 'self'; connect-src 'self'; img-src 'self'; "


def build_desk(base: Base, accounts: AccountParts, parts: RoomParts, audit: AuditLog) -> Desk:
    """Who is received, and how pages look."""
    db, clock, randomness = base.world.db, base.world.clock, base.world.randomness
    tokens = LoginTokens(db, clock, randomness, lifetime_s=base.config.sessions.login_token_lifetime_s)
    login = Login(db, accounts.users, accounts.sessions, tokens, base.limiter)
    sessions = ConsoleSessions(db, clock, randomness, ConsoleDoor(login, accounts.users, base.limiter), audit)
    pages = Pages(
        base.server_name,
        package="admin.console",
        translate=say,
        policy=_POLICY,
        filters={"seg": lambda text: quote(text, safe=""), "iso": iso, "size": size},
    )
    spaces = BoundRooms(parts.rooms, parts.numbers, parts.journal)
    return Desk(sessions, pages, base.config.base_url, spaces)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleActs:
    """What the pages do: the same actions as the admin API."""

    audit: AuditLog
    users: UserActs
    tokens: RegistrationTokens
    notices: ServerNotices
    rooms: AdminRoomParts
    four_eyes: FourEyes
    oversight: OversightParts


def console_endpoints(
    base: Base, desk: Desk, parts: RoomParts, acts: ConsoleActs, roles: OperatorRoles
) -> list[object]:
    db, clock = base.world.db, base.world.clock
    check = partial(check_federation, base.config, clock, base.world.randomness)
    return [
        Assets(),
        EntryPages(desk, base.server_name),
        UserPages(desk, db, acts.users),
        RoomPages(desk, db, acts.rooms.actions, acts.rooms.deletion, acts.oversight.media),
        RoomActPages(desk, db, acts.rooms.actions, acts.rooms.hand),
        JobPages(desk, db, acts.rooms.jobs),
        ReportPages(desk, db, acts.oversight.reports),
        MediaPages(desk, db, acts.oversight.media, acts.oversight.repository),
        FederationPages(desk, db, acts.oversight.destinations, check, base.server_name),
        RegistrationTokenPages(desk, db, clock, acts.tokens),
        NoticePages(desk, db, acts.audit, acts.notices),
        ApprovalPages(desk, acts.four_eyes),
        TracePages(desk, db, base.server_name),
        AuditPages(desk, db),
        OperatorPages(desk, db, roles),
        ConfigurationPages(desk, base.config),
    ]
