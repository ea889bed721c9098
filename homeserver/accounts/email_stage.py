"""The stage of interactive authentication that is passed by a confirmed e-mail address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.accounts.contacts import Contacts
from homeserver.accounts.email_validation import EmailValidation, NoProof, credentials_of, purpose_of
from homeserver.core.identifiers import UserId
from homeserver.storage.database import Database, Tx


class EmailProofs:
    """The stage m.login.email.identity of interactive authentication."""

    def __init__(self, db: Database, validation: EmailValidation, contacts: Contacts) -> None:
        self._db = db
        self._validation = validation
        self._contacts = contacts

    @property
    def are_possible(self) -> bool:
        return self._validation.is_possible

    async def stage(self, auth: Mapping[str, Any], operation: str, user_id: UserId | None) -> str:
        """The sid of a proof that counts for this operation. Raises NoProof, InvalidParam."""
        sid, secret = credentials_of(auth.get("threepid_creds", auth.get("threepidCreds")))
        address = await self._validation.check(purpose_of(operation), sid, secret)
        if user_id is not None and await self._contacts.holder(address) != user_id:
            raise NoProof("this address is not this account's")
        return sid

    async def use_for_password(self, sid: str) -> UserId:
        """Whose password may be set by this proof, which counts once. Raises NoProof."""
        async with self._db.transaction() as tx:
            address, _ = await self._validation.use(tx, sid, "password")
        user_id = await self._contacts.holder(address)
        if user_id is None:
            raise NoProof("this address belongs to no account")
        return user_id

    async def keep(self, tx: Tx, user_id: UserId, sid: str) -> None:
        """Gives a new account the address that was proved while registering. Raises NoProof, MatrixError."""
        address, validated_ts = await self._validation.use(tx, sid, "register")
        await self._contacts.insert(tx, user_id, address, validated_ts)
