"""The account that an operator acts on: of this server, there, and not above the operator."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.four_eyes import FourEyes
from admin.actions.operators import OperatorRoles
from admin.audit import AuditLog
from admin.storage import accounts
from admin.storage.accounts import AccountRow
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.users import Users
from homeserver.core.errors import MatrixError, NotFound
from homeserver.core.identifiers import UserId, domain_of
from homeserver.runtime.clock import Clock
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountTools:
    """What every act on an account uses."""

    db: Database
    clock: Clock
    audit: AuditLog
    roles: OperatorRoles
    users: Users
    sessions: Sessions
    four_eyes: FourEyes

    def check_local(self, user_id: UserId, otherwise: str) -> None:
        """Raises MatrixError, saying `otherwise`, for a user of another server."""
        if domain_of(user_id) != self.users.server_name:
            raise MatrixError(otherwise)

    async def account(self, user_id: UserId, otherwise: str) -> AccountRow:
        """Raises MatrixError for another server's user, NotFound."""
        self.check_local(user_id, otherwise)
        row = await accounts.one(self.db, user_id)
        if row is None:
            raise NotFound("User not found")
        return row

    async def target(self, operator: Operator, user_id: UserId, otherwise: str) -> AccountRow:
        """The account, where the operator may act on it. Raises as `account`, and Forbidden."""
        row = await self.account(user_id, otherwise)
        if user_id != operator.user_id:
            await self.roles.check_may_act_on(operator, user_id)
        return row
