"""Finding people, proving who one is, calling them; what administrators do to accounts."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.moderation import AccountModeration
from homeserver.accounts.mutual_rooms import MutualRooms
from homeserver.accounts.openid import OpenIdTokens
from homeserver.accounts.server_notices import NoticeTools, ServerNotices
from homeserver.accounts.user_directory import UserDirectory
from homeserver.assembly.accounts import AccountParts
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.admin import AdminEndpoints
from homeserver.client_api.openid import OpenIdEndpoint
from homeserver.client_api.third_party_lookup import ThirdPartyLookup
from homeserver.client_api.users import UserSearch
from homeserver.client_api.voip import TurnServer
from homeserver.ports import ThirdPartyNetworks


@dataclass(frozen=True, slots=True, kw_only=True)
class PeopleParts:
    """What others may use of it. `openid` tells services whose token they were given."""

    openid: OpenIdTokens
    moderation: AccountModeration
    notices: ServerNotices
    endpoints: list[object]


async def build_people(
    base: Base, accounts: AccountParts, parts: RoomParts, commands: CommandParts, networks: ThirdPartyNetworks
) -> PeopleParts:
    """Begins to keep the directory too: call it before anybody can write."""
    db = base.world.db
    directory = UserDirectory(db, parts.journal, parts.rooms, base.world.clock, base.server_name)
    parts.journal.listen(directory.hear)
    await directory.start()
    base.tasks.forever(directory.run, name="user_directory")
    openid = OpenIdTokens(db, base.world.clock, base.world.randomness, base.server_name)
    moderation = AccountModeration(db, accounts.users, accounts.sessions)
    tools = NoticeTools(base.config.server_notices, parts.rooms, commands.creation, parts.submission)
    notices = ServerNotices(db, accounts.users, accounts.account_data, tools)
    return PeopleParts(
        notices=notices,
        openid=openid,
        moderation=moderation,
        endpoints=[
            UserSearch(directory, MutualRooms(db)),
            OpenIdEndpoint(openid),
            AdminEndpoints(moderation),
            TurnServer(base.config.turn, base.world.clock),
            ThirdPartyLookup(networks),
        ],
    )
