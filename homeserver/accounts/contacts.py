"""The e-mail addresses of accounts. spec: client-server-api/#adding-account-administrative-contact-information"""

from __future__ import annotations

from typing import Any

from homeserver.accounts.email_validation import EMAIL, EmailValidation
from homeserver.core.email_address import parse_email_address
from homeserver.core.errors import LimitExceeded, MatrixError
from homeserver.core.identifiers import UserId
from homeserver.ports import AbuseCheck
from homeserver.runtime.clock import Clock
from homeserver.storage import contacts
from homeserver.storage.contacts import Contact
from homeserver.storage.database import Database, Tx

CONTACTS_MAX = 50


class Contacts:
    """Adds proved addresses to accounts and removes them."""

    abuse: AbuseCheck | None = None

    def __init__(self, db: Database, clock: Clock, validation: EmailValidation) -> None:
        self._db = db
        self._clock = clock
        self._validation = validation

    async def of_user(self, user_id: UserId) -> list[dict[str, Any]]:
        return [
            {
                "medium": contact.medium,
                "address": contact.address,
                "validated_at": contact.validated_ts,
                "added_at": contact.added_ts,
            }
            for contact in await contacts.of_user(self._db, user_id)
        ]

    async def holder(self, address: str) -> UserId | None:
        """Whose e-mail address this is."""
        return await contacts.holder(self._db, EMAIL, address)

    async def add(self, user_id: UserId, sid: str, client_secret: str) -> None:
        """Adds the address that the user proved. Raises NoProof, LimitExceeded, MatrixError (M_THREEPID_IN_USE)."""
        await self._validation.check("add", sid, client_secret, user_id)
        if self.abuse is not None:
            await self.abuse.check("contact", user_id)
        async with self._db.transaction() as tx:
            if len(await contacts.of_user(tx, user_id)) >= CONTACTS_MAX:
                raise LimitExceeded(f"an account may have {CONTACTS_MAX} addresses", retry_after_ms=60_000)
            address, validated_ts = await self._validation.use(tx, sid, "add")
            await self.insert(tx, user_id, address, validated_ts)

    async def insert(self, tx: Tx, user_id: UserId, address: str, validated_ts: int) -> None:
        """Raises MatrixError (M_THREEPID_IN_USE) for an address that became somebody else's meanwhile."""
        contact = Contact(EMAIL, address, validated_ts, self._clock.now_ms())
        if not await contacts.insert(tx, user_id, contact):
            raise MatrixError("this address belongs to an account already", errcode="M_THREEPID_IN_USE")

    async def remove(self, user_id: UserId, medium: str, address: str) -> None:
        """Nothing happens where the user has no such address."""
        async with self._db.transaction() as tx:
            await contacts.delete(tx, user_id, medium, canonical(medium, address))

    async def remove_all(self, user_id: UserId) -> None:
        async with self._db.transaction() as tx:
            await contacts.delete_all(tx, user_id)


def canonical(medium: str, address: str) -> str:
    """An address in the form in which it is kept. Raises InvalidParam."""
    if medium == EMAIL:
        return parse_email_address(address)
    raise MatrixError("only e-mail addresses are known here", errcode="M_THREEPID_MEDIUM_NOT_SUPPORTED")
