"""Accounts of people whom another service vouches for. None is ever found by a name that such a service gives:

a name there may change hands, an account here must not.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from homeserver.accounts.users import NewUser, Users
from homeserver.core.errors import Forbidden, InvalidUsername, MatrixError, UserInUse
from homeserver.core.identifiers import UserId
from homeserver.storage import login_tokens, upstream_sessions, users
from homeserver.storage.database import Database, UniqueViolation
from homeserver.storage.upstream_sessions import UpstreamSession

# Told of a new account.
Welcome = Callable[[UserId], None]

SUFFIXES_MAX = 20
SUBJECT_CHARS_MAX = 255
# What is on its way to an app lives minutes.
FORGOTTEN_AFTER_MS = 3_600_000
_NAME_CHARS_MAX = 256


class Newcomers:
    """Finds or makes the account of somebody who signed in elsewhere."""

    def __init__(self, db: Database, accounts: Users, welcome: Welcome, reserved: Collection[str] = ()) -> None:
        self._db = db
        self._accounts = accounts
        self._welcome = welcome
        # Names that nobody gets by calling themselves so elsewhere, where anybody may.
        self._reserved = reserved

    async def by_subject(self, provider: str, subject: str, *, wanted: str | None, display_name: str | None) -> UserId:
        """The account linked to this identity; a new one, with the wanted name or one like it, where there is none.

        Raises Forbidden for an identity, or a name, that can't be used.
        """
        if not 0 < len(subject) <= SUBJECT_CHARS_MAX or "\x00" in subject:
            raise Forbidden("the sign-in service's answer can't be used")
        known = await login_tokens.holder(self._db, provider, subject)
        if known is not None:
            return known
        for user_id in self._names(wanted):
            if await users.by_id(self._db, user_id) is not None:
                continue
            try:
                async with self._db.transaction() as tx:
                    name = display_name[:_NAME_CHARS_MAX].replace("\x00", "") if display_name else None
                    await self._accounts.insert(tx, NewUser(user_id=user_id, display_name=name))
                    await login_tokens.link(tx, provider, subject, user_id)
            except UserInUse:
                continue
            except UniqueViolation:  # the same person in two windows
                return await self.by_subject(provider, subject, wanted=wanted, display_name=display_name)
            self._welcome(user_id)
            return user_id
        raise Forbidden("there is no free name for this account: ask the administrators")

    async def arrived(self, session: UpstreamSession) -> int:
        """The number of a sign-in, by which what it opens is known to have come of it."""
        async with self._db.transaction() as tx:
            return await upstream_sessions.insert(tx, session, session.opened_ts - FORGOTTEN_AFTER_MS)

    async def known(self, provider: str, subject: str) -> UserId | None:
        """The account linked to this identity, if there is one."""
        return await login_tokens.holder(self._db, provider, subject) if "\x00" not in subject else None

    async def providers_of(self, user_id: UserId) -> set[str]:
        """The services that know the owner of this account."""
        return await login_tokens.providers(self._db, user_id)

    async def by_name(self, localpart: str, *, makes_accounts: bool) -> UserId:
        """The account of this name, from a service that gives names here by itself. Raises Forbidden."""
        try:
            user_id = self._accounts.new_user_id(localpart.lower())
        except MatrixError:
            raise Forbidden("the token's subject is no user name") from None
        if await users.by_id(self._db, user_id) is None:
            if not makes_accounts:
                raise Forbidden("there is no such user")
            try:
                async with self._db.transaction() as tx:
                    await self._accounts.insert(tx, NewUser(user_id=user_id))
            except UserInUse:  # the same person twice at once
                return user_id
            self._welcome(user_id)
        return user_id

    def _names(self, wanted: str | None) -> list[UserId]:
        base = "".join(char if char.isascii() and (char.isalnum() or char in "._-") else "" for char in wanted or "")
        base = base.lower().strip("._-")[:64] or "user"
        found = []
        for suffix in ("", *(str(number) for number in range(2, SUFFIXES_MAX + 2))):
            try:
                found.append(self._accounts.new_user_id(base + suffix, self._reserved))
            except (InvalidUsername, MatrixError):
                continue
        return found
