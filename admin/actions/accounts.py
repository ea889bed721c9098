"""Accounts made, changed and ended by operators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from admin.actions.targets import AccountTools
from admin.audit import entry_of
from admin.storage import accounts
from admin.storage.accounts import AccountRow
from homeserver.accounts.contacts import canonical
from homeserver.accounts.deactivation import Deactivation
from homeserver.accounts.passwords import Passwords
from homeserver.accounts.profiles import Profiles
from homeserver.accounts.users import NewUser
from homeserver.core.errors import Forbidden, MatrixError
from homeserver.core.identifiers import UserId, localpart_of
from homeserver.core.operators import Permission
from homeserver.storage import contacts, login_tokens, users
from homeserver.storage.contacts import Contact
from homeserver.storage.database import Tx
from homeserver.web.endpoint import Operator

ADDRESSES_MAX = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountWish:
    """What an account shall be; None leaves a thing as it is. `sets_type` tells a type of None from no wish."""

    password: str | None = None
    logs_out: bool = True
    displayname: str | None = None
    avatar_url: str | None = None
    threepids: Sequence[tuple[str, str]] | None = None  # (medium, address)
    external_ids: Sequence[tuple[str, str]] | None = None  # (sign-in service, who they are there)
    is_admin: bool | None = None
    is_deactivated: bool | None = None
    is_locked: bool | None = None
    sets_type: bool = False
    user_type: str | None = None


class Accounts:
    """Each act is written with its audit row."""

    def __init__(
        self,
        tools: AccountTools,
        profiles: Profiles,
        passwords: Passwords,
        deactivation: Deactivation,
        welcome: Callable[[UserId], None],
    ) -> None:
        self._tools = tools
        self._profiles = profiles
        self._passwords = passwords
        self._deactivation = deactivation
        self._welcome = welcome

    # Whether a service beside this server makes the accounts. Set by the assembly.
    is_delegated = False

    async def put(self, user_id: UserId, wish: AccountWish, *, by: Operator) -> bool:
        """Makes the account, or changes it; whether it was made.

        Raises MatrixError (another server's user, an address or identity that is somebody else's), Forbidden.
        """
        by.check(Permission.CHANGE_USERS)
        if wish.is_deactivated and wish.is_locked:
            raise MatrixError("An user can't be deactivated and locked")
        self._tools.check_local(user_id, "This endpoint can only be used with local users")
        wish = _canonical(wish)
        row = await accounts.one(self._tools.db, user_id)
        if row is None:
            if self.is_delegated:
                raise Forbidden("accounts are made by the authentication service: make this one there")
            await self._make(user_id, wish, by)
            return True
        await self._change(row, wish, by)
        return False

    async def deactivate(self, user_id: UserId, *, erase: bool, by: Operator, reason: str | None = None) -> bool:
        """Ends the account for good. Whether everything that other servers keep was ended there too.

        Raises NotFound, Forbidden.
        """
        by.check(Permission.END_USERS)
        await self._tools.target(by, user_id, "Can only deactivate local users")
        if erase:
            await self._tools.four_eyes.check("erase", user_id, Permission.END_USERS, by=by)
        entry = entry_of(by, "user.deactivate", user_id, reason=reason, after={"erase": erase})
        return await self._deactivation.deactivate(user_id, erase=erase, also=self._tools.audit.noting(entry))

    async def _make(self, user_id: UserId, wish: AccountWish, by: Operator) -> None:
        tools = self._tools
        tools.users.new_user_id(localpart_of(user_id))
        if wish.is_admin:
            by.check(Permission.CHANGE_OPERATORS)
        hashed = None
        if wish.password is not None:
            self._passwords.check_new(wish.password)
            hashed = await self._passwords.hash(wish.password)
        new = NewUser(
            user_id=user_id,
            password_hash=hashed,
            display_name=wish.displayname,
            is_admin=bool(wish.is_admin),
            user_type=wish.user_type,
        )
        async with tools.db.transaction() as tx:
            await tools.users.insert(tx, new)
            await self._write(tx, user_id, wish)
            if wish.is_locked:
                await users.set_locked(tx, user_id, True)
            await tools.audit.record(tx, entry_of(by, "user.create", user_id, after=_said(wish)))
        if wish.avatar_url:
            await self._set_field(user_id, "avatar_url", wish.avatar_url, by)
        self._welcome(user_id)

    async def _change(self, row: AccountRow, wish: AccountWish, by: Operator) -> None:
        user_id, tools = row.user_id, self._tools
        if user_id != by.user_id:
            await tools.roles.check_may_act_on(by, user_id)
        elif wish.is_locked:
            raise Forbidden("nobody does this to their own account")
        if wish.is_deactivated is False and row.is_deactivated and wish.password is None:
            raise MatrixError("Must provide a password to re-activate an account.")
        if wish.password is not None:
            self._passwords.check_new(wish.password)
        if wish.password is not None or await self._opens_another_way(user_id, wish):
            by.check(Permission.IMPERSONATE)
            await tools.four_eyes.check("impersonate", user_id, Permission.IMPERSONATE, by=by)
        if wish.is_admin is not None and wish.is_admin != row.is_admin:
            await tools.roles.set_admin_flag(user_id, wish.is_admin, by=by)
        hashed = await self._passwords.hash(wish.password) if wish.password is not None else None
        said = _said(wish)
        if said:
            async with tools.db.transaction() as tx:
                if wish.is_deactivated is False and row.is_deactivated:
                    await tools.users.reactivate(tx, user_id)
                if hashed is not None:
                    await users.set_password(tx, user_id, hashed)
                if wish.is_locked is not None:
                    await users.set_locked(tx, user_id, wish.is_locked)
                if wish.sets_type:
                    await users.set_type(tx, user_id, wish.user_type)
                await self._write(tx, user_id, wish)
                entry = entry_of(by, "user.modify", user_id, before=_was(row, said), after=said)
                await tools.audit.record(tx, entry)
            tools.sessions.account_changed(user_id)
        for field, value in (("displayname", wish.displayname), ("avatar_url", wish.avatar_url)):
            if value is not None and value != getattr(row, field):
                await self._set_field(user_id, field, value, by)
        if hashed is not None and wish.logs_out:
            await tools.sessions.end_all(user_id)
        if wish.is_deactivated and not row.is_deactivated:
            await self.deactivate(user_id, erase=False, by=by)

    async def _opens_another_way(self, user_id: UserId, wish: AccountWish) -> bool:
        """Whether somebody could get into the account who couldn't before.

        Whoever reads an address's mail sets a new password, and whoever has the identity at a sign-in service is let
        in: to name one of them for an account is as much as to set its password.
        """
        db = self._tools.db
        if wish.threepids:
            held = {(one.medium, one.address) for one in await contacts.of_user(db, user_id)}
            if not held.issuperset(wish.threepids):
                return True
        if wish.external_ids:
            return not set(await accounts.external_ids(db, user_id)).issuperset(wish.external_ids)
        return False

    async def _write(self, tx: Tx, user_id: UserId, wish: AccountWish) -> None:
        """Addresses and identities, in place of those that were."""
        now = self._tools.clock.now_ms()
        if wish.threepids is not None:
            await contacts.delete_all(tx, user_id)
            for medium, address in wish.threepids:
                if not await contacts.insert(tx, user_id, Contact(medium, address, now, now)):
                    raise MatrixError("this address belongs to another account", errcode="M_THREEPID_IN_USE")
        if wish.external_ids is not None:
            await login_tokens.unlink_all(tx, user_id)
            for provider, subject in wish.external_ids:
                if await login_tokens.holder(tx, provider, subject) is not None:
                    raise MatrixError("External id is already in use.", status=409)
                await login_tokens.link(tx, provider, subject, user_id)

    async def _set_field(self, user_id: UserId, field: str, value: str, by: Operator) -> None:
        entry = entry_of(by, "user.profile", user_id, after={field: value or None})
        note = self._tools.audit.noting(entry)
        if value:
            await self._profiles.set(user_id, field, value, also=note)
        else:
            await self._profiles.delete(user_id, field, also=note)


def _canonical(wish: AccountWish) -> AccountWish:
    """Raises InvalidParam for an address that is none."""
    found = None
    if wish.threepids is not None:
        if len(wish.threepids) > ADDRESSES_MAX:
            raise MatrixError(f"an account may have {ADDRESSES_MAX} addresses", errcode="M_INVALID_PARAM")
        found = list(dict.fromkeys((medium, _address(medium, address)) for medium, address in wish.threepids))
    return replace(wish, threepids=found)


def _address(medium: str, address: str) -> str:
    if medium == "msisdn":
        if not (address.isascii() and address.isdigit() and 5 <= len(address) <= 15):
            raise MatrixError("a phone number consists of 5 to 15 digits", errcode="M_INVALID_PARAM")
        return address
    return canonical(medium, address)


def _said(wish: AccountWish) -> dict[str, Any]:
    """What of a wish goes into the audit log: that there is a password, never which."""
    said: dict[str, Any] = {}
    if wish.password is not None:
        said |= {"password_set": True, "logout_devices": wish.logs_out}
    if wish.threepids is not None:
        said["threepids"] = [{"medium": medium, "address": address} for medium, address in wish.threepids]
    if wish.external_ids is not None:
        said["external_ids"] = [{"auth_provider": provider, "id": subject} for provider, subject in wish.external_ids]
    if wish.is_locked is not None:
        said["locked"] = wish.is_locked
    if wish.sets_type:
        said["user_type"] = wish.user_type
    if wish.is_deactivated is False:
        said["deactivated"] = False
    return said


def _was(row: AccountRow, said: dict[str, Any]) -> dict[str, Any]:
    before = {"locked": row.is_locked, "user_type": row.user_type, "deactivated": row.is_deactivated}
    return {key: value for key, value in before.items() if key in said}
