"""Accounts: made, found, changed and ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from homeserver.accounts.passwords import Passwords
from homeserver.core.errors import Forbidden, InvalidUsername, MatrixError, NotFound, UserInUse
from homeserver.core.identifiers import ID_BYTES_MAX, ServerName, UserId, is_new_localpart, is_user_id, localpart_of
from homeserver.core.operators import Role
from homeserver.journal.journal import Journal, JournalWrite
from homeserver.runtime.clock import Clock
from homeserver.storage import operator_roles, personal_data, profiles, registration_tokens, sessions_to_end, users
from homeserver.storage.database import Also, Database, Tx
from homeserver.storage.users import UserRow


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUser:
    """What an account is made of. `password_hash` is None where nobody shall log in by password."""

    user_id: UserId
    password_hash: str | None = None
    display_name: str | None = None
    is_admin: bool = False
    is_guest: bool = False
    user_type: str | None = None


class Elsewhere(Protocol):
    """Passwords that are kept in another place, for accounts that have none here."""

    async def is_password(self, user_id: UserId, password: str) -> bool:
        """Raises Unavailable."""
        ...

    async def take_in(self, user_id: UserId, password: str) -> bool:
        """For a name that nobody has: whether there is an account of it now. Raises Forbidden, Unavailable."""
        ...

    async def knows(self, user_id: UserId) -> bool:
        """Whether this account is somebody's there."""
        ...


class Users:
    """The accounts of this server."""

    def __init__(
        self, db: Database, clock: Clock, passwords: Passwords, journal: Journal, server_name: ServerName
    ) -> None:
        self._db = db
        self._clock = clock
        self._passwords = passwords
        self._journal = journal
        self.server_name = server_name
        # Raises MatrixError for ids that bridges keep for themselves. Set by the assembly.
        self.check_reserved: Callable[[UserId], None] = lambda user_id: None
        # Set by the assembly.
        self.elsewhere: Elsewhere | None = None
        self._erased: dict[UserId, int] | None = None

    def user_id_of(self, name: str) -> UserId:
        """The user id that a localpart or a user id of this server means; no check whether it exists."""
        return UserId(name) if name.startswith("@") else UserId(f"@{name}:{self.server_name}")

    def new_user_id(self, localpart: str, reserved: Collection[str] = ()) -> UserId:
        """The id of an account to be made. Raises InvalidUsername, or MatrixError (M_EXCLUSIVE) for a reserved name."""
        user_id = id_of_new(localpart, self.server_name)
        if localpart in reserved:
            raise MatrixError("this name is reserved", errcode="M_EXCLUSIVE")
        self.check_reserved(user_id)
        return user_id

    async def check_free(self, user_id: UserId) -> None:
        """Raises UserInUse. Names of deactivated accounts stay taken."""
        if await users.by_id(self._db, user_id) is not None:
            raise UserInUse("this name is taken")

    async def insert(self, tx: Tx, user: NewUser) -> None:
        """Makes the account. Raises UserInUse if its name was taken meanwhile."""
        row = UserRow(
            user_id=user.user_id,
            password_hash=user.password_hash,
            created_ts=self._clock.now_ms(),
            user_type=user.user_type,
            is_admin=user.is_admin,
            is_guest=user.is_guest,
        )
        if not await users.insert(tx, row):
            raise UserInUse("this name is taken")
        name = user.display_name or localpart_of(user.user_id)
        await profiles.upsert(tx, user.user_id, "displayname", orjson.dumps(name))

    async def make_of_guest(self, tx: Tx, user_id: UserId, password_hash: str) -> None:
        """Turns a guest into a user. Raises UserInUse if somebody was faster."""
        if not await users.end_being_guest(tx, user_id, password_hash):
            raise UserInUse("this name is taken")

    async def ensure(self, tx: Tx, user: NewUser) -> None:
        """Makes the account unless it is there."""
        if await users.by_id(tx, user.user_id) is None:
            await self.insert(tx, user)

    async def create(self, localpart: str, password: str, *, is_admin: bool = False) -> UserId:
        """An account made by the operator. Raises InvalidUsername, UserInUse, WeakPassword."""
        user_id = self.new_user_id(localpart)
        self._passwords.check_new(password)
        hashed = await self._passwords.hash(password)
        async with self._db.transaction() as tx:
            await self.insert(tx, NewUser(user_id=user_id, password_hash=hashed, is_admin=is_admin))
        return user_id

    async def get(self, user_id: UserId) -> UserRow:
        """Raises NotFound."""
        user = await users.by_id(self._db, user_id)
        if user is None:
            raise NotFound("there is no such user")
        return user

    async def existing(self, user_ids: Collection[UserId]) -> set[UserId]:
        """Those of these that are accounts in use here."""
        return await users.existing(self._db, user_ids)

    async def page(self, after: str = "", limit: int = 100) -> list[UserRow]:
        """Accounts in the order of their ids, those after `after`."""
        return await users.page(self._db, after, limit)

    def check_new_password(self, password: str) -> None:
        """Raises WeakPassword, MatrixError."""
        self._passwords.check_new(password)

    async def set_password(
        self, user_id: UserId, password: str, *, logs_out: bool = False, also: Also | None = None
    ) -> None:
        """Raises NotFound, WeakPassword. Sessions stay: end them with `Sessions.end_all`.

        With `logs_out` the server ends them all, within seconds if it runs, else when it starts.
        """
        self._passwords.check_new(password)
        hashed = await self._passwords.hash(password)
        async with self._db.transaction() as tx:
            if not await users.set_password(tx, user_id, hashed):
                raise NotFound("there is no such user")
            if logs_out:
                await sessions_to_end.insert(tx, user_id)
            if also is not None:
                await also(tx)

    async def is_password(self, user_id: UserId, password: str) -> bool:
        """Whether this is the user's password; as slow for a user who doesn't exist. Renews an outdated hash.

        Raises Unavailable where it is kept elsewhere, and that can't be asked.
        """
        user = await users.by_id(self._db, user_id)
        usable = user if user is not None and not user.is_deactivated else None
        if self.elsewhere is not None and usable is not None and usable.password_hash is None:
            return await self.elsewhere.is_password(user_id, password)
        matches = await self._passwords.verify(usable.password_hash if usable else None, password)
        if matches and usable and usable.password_hash and self._passwords.is_outdated(usable.password_hash):
            hashed = await self._passwords.hash(password)
            async with self._db.transaction() as tx:
                await users.set_password(tx, user_id, hashed)
        return matches

    async def take_in(self, user_id: UserId, password: str) -> bool:
        """Makes the account of somebody who is known elsewhere, for a name that nobody has here; whether it did.

        Raises Forbidden, Unavailable.
        """
        if self.elsewhere is None or await users.by_id(self._db, user_id) is not None:
            return False
        return await self.elsewhere.take_in(user_id, password)

    async def has_password(self, user_id: UserId) -> bool:
        """Whether there is one, here or elsewhere, that can be asked for."""
        user = await users.by_id(self._db, user_id)
        return (user is not None and user.password_hash is not None) or await self.is_kept_elsewhere(user_id)

    async def is_kept_elsewhere(self, user_id: UserId) -> bool:
        """Whether the user's password is none of ours."""
        return self.elsewhere is not None and await self.elsewhere.knows(user_id)

    async def is_registration_token(self, token: str) -> bool:
        if len(token) > 64 or "\x00" in token:
            return False
        return await registration_tokens.is_valid(self._db, token, self._clock.now_ms())

    async def deactivate(
        self, user_id: UserId, *, erase: bool, also: Callable[[JournalWrite, UserId], Awaitable[None]]
    ) -> None:
        """Ends an account for good: no log-in, no profile, nothing that it kept for itself.

        With `erase` its messages are hidden from newcomers. `also` ends its sessions in the
        same transaction: no account is half deactivated. Raises Forbidden for the last owner of the server.
        """
        async with self._journal.write() as write:
            await _check_owner_stays(write.tx, user_id)
            await also(write, user_id)
            await users.deactivate(write.tx, user_id, write.position if erase else None)
            await profiles.delete_all(write.tx, user_id)
            await personal_data.delete(write.tx, user_id)
            await profiles.mark_changed(write.tx, user_id, write.position)
            write.publish("account", user_ids=[user_id])
            write.publish("profile", payload=user_id)
        if erase and self._erased is not None:
            self._erased[user_id] = write.position

    async def reactivate(self, tx: Tx, user_id: UserId) -> None:
        """Lets an account that was deactivated be used again; what it said is shown again too."""
        await users.reactivate(tx, user_id)
        if self._erased is not None:
            self._erased.pop(user_id, None)

    async def erased_at(self, user_ids: Collection[UserId]) -> Mapping[UserId, int]:
        """For the read gate: the position at which each of those that were erased was."""
        erased = await self.erased()
        return {user_id: erased[user_id] for user_id in user_ids if user_id in erased} if erased else {}

    async def erased(self) -> Mapping[UserId, int]:
        """The same of all that ever were."""
        if self._erased is None:
            self._erased = await users.erased(self._db)
        return self._erased


async def _check_owner_stays(tx: Tx, user_id: UserId) -> None:
    """Raises Forbidden for the last owner: nobody could run the server any more."""
    await operator_roles.lock(tx)
    if await operator_roles.of(tx, user_id) is Role.OWNER and not await operator_roles.has_other_owner(tx, user_id):
        raise Forbidden("this is the last administrator: make somebody else one first")


def id_of_new(localpart: str, server_name: str) -> UserId:
    """The user id of an account with this name. Raises InvalidUsername for a name that no new account may have."""
    if not is_new_localpart(localpart) or localpart.startswith("_"):
        raise InvalidUsername("a user name consists of a-z, 0-9 and . _ = - / +, and doesn't begin with _")
    user_id = f"@{localpart}:{server_name}"
    if len(user_id) > ID_BYTES_MAX or not is_user_id(user_id):
        raise InvalidUsername(f"a user id may have {ID_BYTES_MAX} characters")
    return UserId(user_id)
