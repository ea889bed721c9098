"""Proving that one reads the mail of an address: a link in a mail, opened.

spec: client-server-api/#adding-account-administrative-contact-information
A proof is bound to its purpose, its address, the client's secret and whoever asked for it, and counts once. No answer
tells whether an address belongs to an account: where it does not fit, another mail is sent, or none.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode, urlsplit

from homeserver.config.sign_in import Email
from homeserver.core.email_address import parse_email_address
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.core.globs import WholeGlob
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import contact_validations, contacts
from homeserver.storage.contact_validations import Validation
from homeserver.storage.database import Database, Tx
from homeserver.web.pages import Pages
from homeserver.web.smtp import Mail, MailQueue

CONFIRM_PATH = "/_hansa/confirm"
NEXT_LINK_CHARS_MAX = 2_000
SEND_ATTEMPT_MAX = 2**53 - 1
EMAIL = "email"
_SECRET = re.compile(r"[0-9a-zA-Z.=_-]{1,255}", re.ASCII)

Purpose = Literal["register", "add", "password"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a client asks for."""

    address: str
    client_secret: str
    send_attempt: int
    next_link: str | None = None
    language: str = "en"


@dataclass(frozen=True, slots=True)
class MailTools:
    """How mails are made and sent. `queue` is None where none can be."""

    config: Email
    base_url: str
    pages: Pages
    queue: MailQueue | None


class NotSupported(MatrixError):
    errcode = "M_THREEPID_MEDIUM_NOT_SUPPORTED"


class NoProof(MatrixError):
    errcode, status = "M_THREEPID_AUTH_FAILED", 401


class EmailValidation:
    """Sends links, takes note of their opening, and says what was proved."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness, tools: MailTools) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        self._tools = tools
        self._domains = [WholeGlob(pattern) for pattern in tools.config.allow_domains]

    @property
    def is_possible(self) -> bool:
        """Whether this server sends mail."""
        return self._tools.queue is not None

    async def request(self, purpose: Purpose, ask: Ask, user_id: UserId | None = None) -> str:
        """Begins a proof: its `sid`. Raises NotSupported, InvalidParam, MatrixError (M_THREEPID_DENIED).

        The same `send_attempt` sends nothing again.
        """
        if not self.is_possible:
            raise NotSupported("this server sends no mail")
        address = self._allowed(ask.address)
        check_secret(ask.client_secret)
        if not 0 <= ask.send_attempt <= SEND_ATTEMPT_MAX:
            raise InvalidParam("send_attempt must be a number that grows")
        secret, who = _digest(ask.client_secret), user_id or ""
        known = await contact_validations.known(self._db, purpose, address, secret, who, self._oldest_ms())
        if known is not None and ask.send_attempt <= known.send_attempt:
            return known.sid
        token, sid = self._randomness.token(32), self._randomness.token(24)
        begun = Validation(
            sid=sid,
            purpose=purpose,
            address=address,
            secret_digest=secret,
            token_digest=_digest(token),
            user_id=who,
            send_attempt=ask.send_attempt,
            next_link=self._next_link(ask.next_link),
            created_ts=self._clock.now_ms(),
        )
        async with self._db.transaction() as tx:
            await contact_validations.expire(tx, self._oldest_ms())
            await contact_validations.upsert(tx, begun)
        await self._send(purpose, begun, token, ask.language)
        return sid

    async def confirm(self, sid: str, token: str) -> tuple[bool, str | None]:
        """The link was opened. Whether it was good, and where the app wants its user to go on."""
        async with self._db.transaction() as tx:
            return await contact_validations.confirm(tx, sid, _digest(token), self._clock.now_ms(), self._oldest_ms())

    async def check(self, purpose: Purpose, sid: str, client_secret: str, user_id: UserId | None = None) -> str:
        """The address that was proved for this purpose, by whoever asked for it. Raises NoProof."""
        found = await contact_validations.by_sid(self._db, sid, self._oldest_ms())
        if (
            found is None
            or found.purpose != purpose
            or found.validated_ts is None
            or not hmac.compare_digest(found.secret_digest, _digest(client_secret))
            or (purpose == "add" and found.user_id != user_id)
        ):
            raise NoProof("this address has not been confirmed: open the link in the mail")
        return found.address

    async def use(self, tx: Tx, sid: str, purpose: Purpose) -> tuple[str, int]:
        """Uses the proof up, with what it is for: address and time. Raises NoProof where somebody was faster."""
        used = await contact_validations.use(tx, sid, purpose)
        if used is None:
            raise NoProof("this confirmation was used before")
        return used

    async def _send(self, purpose: Purpose, begun: Validation, token: str, language: str) -> None:
        holder = await contacts.holder(self._db, EMAIL, begun.address)
        if purpose == "password" and holder is None:
            return  # as silent as it is for an address that is known
        template = "mail_taken" if holder is not None and purpose != "password" else f"mail_{purpose}"
        query = urlencode({"sid": begun.sid, "token": token})
        link = f"{self._tools.base_url}{CONFIRM_PATH}?{query}"
        subject, text = self._tools.pages.mail(template, language, {"link": link})
        assert self._tools.queue is not None
        self._tools.queue.put(Mail(to=begun.address, subject=subject, text=text))

    def _allowed(self, text: str) -> str:
        address = parse_email_address(text)
        domain = address.rpartition("@")[2]
        if self._domains and not any(glob.matches(domain) for glob in self._domains):
            raise MatrixError("addresses of this domain are not taken", errcode="M_THREEPID_DENIED", status=403)
        return address

    def _next_link(self, link: str | None) -> str | None:
        """Only to hosts that the operator named: a mail of ours must lead nowhere else."""
        if link is None or len(link) > NEXT_LINK_CHARS_MAX:
            return None
        try:
            parts = urlsplit(link)
        except ValueError:
            return None
        hosts = self._tools.config.next_link_hosts
        return link if parts.scheme == "https" and (parts.hostname or "") in hosts else None

    def _oldest_ms(self) -> int:
        return self._clock.now_ms() - self._tools.config.link_lifetime_s * 1000


def credentials_of(given: object) -> tuple[str, str]:
    """sid and client_secret of a `threepid_creds`. Raises InvalidParam."""
    creds = given if isinstance(given, Mapping) else {}
    sid, secret = creds.get("sid"), creds.get("client_secret")
    if not isinstance(sid, str) or not isinstance(secret, str):
        raise InvalidParam("threepid_creds needs sid and client_secret")
    check_sid(sid)
    check_secret(secret)
    return sid, secret


def check_secret(secret: str) -> None:
    if _SECRET.fullmatch(secret) is None:
        raise InvalidParam("client_secret consists of 1 to 255 of 0-9 a-z A-Z . = _ -")


def check_sid(sid: str) -> None:
    if _SECRET.fullmatch(sid) is None:
        raise InvalidParam("sid consists of 1 to 255 of 0-9 a-z A-Z . = _ -")


def purpose_of(operation: str) -> Purpose:
    """What a proof must have been asked for, to count for this operation of interactive authentication."""
    return "register" if operation.startswith("register") else "password"


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
