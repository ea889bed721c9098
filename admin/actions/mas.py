"""What the Matrix Authentication Service does with accounts: it makes them, changes them and ends them.

Each act on an account is written with its audit row. Log-ins and log-outs aren't, as nobody's are: devices come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from admin.actions.targets import AccountTools
from admin.audit import AuditEntry
from admin.audit_actions import Action
from admin.storage import accounts
from admin.storage.accounts import AccountRow
from homeserver.accounts.contacts import CONTACTS_MAX, canonical
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.oauth.browser import CrossSigningResets
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.users import NewUser
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import UserId
from homeserver.storage import contacts, users
from homeserver.storage.contacts import Contact
from homeserver.storage.database import Tx

ACTOR = "matrix-authentication-service"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvisionWish:
    """What an account shall be; None leaves a thing as it is, an empty text or list takes it away."""

    displayname: str | None = None
    avatar_url: str | None = None
    emails: Sequence[str] | None = None
    locked: bool | None = None


class MasAccounts:
    """Acts in the service's name."""

    def __init__(
        self,
        tools: AccountTools,
        profiles: Profiles,
        deactivation: Deactivation,
        resets: CrossSigningResets,
        welcome: Callable[[UserId], None],
    ) -> None:
        self._tools = tools
        self._profiles = profiles
        self._deactivation = deactivation
        self._resets = resets
        self._welcome = welcome

    async def account(self, localpart: str) -> AccountRow:
        """Raises NotFound."""
        user_id = UserId(f"@{localpart}:{self._tools.users.server_name}")
        row = await accounts.one(self._tools.db, user_id) if "\x00" not in user_id else None
        if row is None:
            raise NotFound("User not found")
        return row

    async def check_free(self, localpart: str, reserved: Sequence[str]) -> None:
        """Raises InvalidUsername, UserInUse, MatrixError (M_EXCLUSIVE)."""
        users_of_ours = self._tools.users
        await users_of_ours.check_free(users_of_ours.new_user_id(localpart, reserved))

    async def provision(self, localpart: str, wish: ProvisionWish) -> bool:
        """Makes the account, or changes it; whether it was made. Raises MatrixError."""
        tools = self._tools
        emails = _canonical(wish.emails) if wish.emails is not None else None
        try:
            row = await self.account(localpart)
        except NotFound:
            user_id = tools.users.new_user_id(localpart)
            async with tools.db.transaction() as tx:
                await tools.users.insert(tx, NewUser(user_id=user_id, display_name=wish.displayname or None))
                await self._write(tx, user_id, emails, wish.locked)
                await tools.audit.record(tx, _entry("user.create", user_id, after=_said(emails, wish.locked)))
            if wish.avatar_url:
                await self._profiles.set(user_id, "avatar_url", wish.avatar_url)
            self._welcome(user_id)
            return True
        user_id, said = row.user_id, _said(emails, wish.locked)
        if said:
            async with tools.db.transaction() as tx:
                if await self._write(tx, user_id, emails, wish.locked) or wish.locked not in (None, row.is_locked):
                    before = {"locked": row.is_locked} if wish.locked is not None else None
                    await tools.audit.record(tx, _entry("user.modify", user_id, before=before, after=said))
            tools.sessions.account_changed(user_id)
        await self.set_field(row, "displayname", wish.displayname)
        await self.set_field(row, "avatar_url", wish.avatar_url)
        return False

    async def set_field(self, row: AccountRow, field: str, value: str | None) -> None:
        """A name or picture; an empty one takes it away, None leaves it. Raises MatrixError."""
        if value is None or value == (getattr(row, field) or ""):
            return
        note = self._tools.audit.noting(_entry("user.profile", row.user_id, after={field: value or None}))
        if value:
            await self._profiles.set(row.user_id, field, value, also=note)
        else:
            await self._profiles.delete(row.user_id, field, also=note)

    async def delete(self, localpart: str, *, erase: bool) -> None:
        """Ends the account. Raises NotFound, Forbidden for the last owner of the server."""
        user_id = (await self.account(localpart)).user_id
        entry = _entry("user.deactivate", user_id, after={"erase": erase})
        await self._deactivation.deactivate(user_id, erase=erase, also=self._tools.audit.noting(entry))

    async def reactivate(self, localpart: str) -> None:
        """Raises NotFound."""
        row = await self.account(localpart)
        async with self._tools.db.transaction() as tx:
            await self._tools.users.reactivate(tx, row.user_id)
            if row.is_deactivated:
                await self._tools.audit.record(tx, _entry("user.reactivate", row.user_id))
        self._tools.sessions.account_changed(row.user_id)

    async def allow_new_cross_signing(self, localpart: str) -> None:
        """For ten minutes, once, without a proof here: the service had one. Raises NotFound."""
        user_id = (await self.account(localpart)).user_id
        async with self._tools.db.transaction() as tx:
            await self._tools.audit.record(tx, _entry("user.cross_signing_replacement", user_id))
        self._resets.allow(user_id)

    async def _write(self, tx: Tx, user_id: UserId, emails: Sequence[str] | None, locked: bool | None) -> bool:
        """Whether addresses are others now. The service knows whose an address is: it leaves whoever had it."""
        if locked is not None:
            await users.set_locked(tx, user_id, locked)
        if emails is None:
            return False
        had = {found.address for found in await contacts.of_user(tx, user_id) if found.medium == "email"}
        if had == set(emails):
            return False
        now = self._tools.clock.now_ms()
        await contacts.replace_emails(tx, user_id, [Contact("email", address, now, now) for address in emails])
        return True


def _canonical(emails: Sequence[str]) -> list[str]:
    """Raises InvalidParam for one that is none, and for too many."""
    if len(emails) > CONTACTS_MAX:
        raise InvalidParam(f"an account may have {CONTACTS_MAX} addresses")
    return list(dict.fromkeys(canonical("email", address) for address in emails))


def _said(emails: Sequence[str] | None, locked: bool | None) -> dict[str, Any]:
    return {
        **({"emails": list(emails)} if emails is not None else {}),
        **({"locked": locked} if locked is not None else {}),
    }


def _entry(
    action: Action, user_id: UserId, *, before: dict[str, Any] | None = None, after: dict[str, Any] | None = None
) -> AuditEntry:
    return AuditEntry(actor=ACTOR, action=action, target=user_id, before=before, after=after)
