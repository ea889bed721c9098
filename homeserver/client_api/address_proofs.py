"""Proving that one reads the mail of an address. On our own pages, the page keeps what a client would keep."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.accounts.email_validation import Ask, EmailValidation, Purpose
from homeserver.core.email_address import parse_email_address
from homeserver.core.identifiers import UserId
from homeserver.runtime.ids import Randomness
from homeserver.web.endpoint import Request
from homeserver.web.pages import language_of
from homeserver.web.rate_limits import RateLimiter


@dataclass(frozen=True, slots=True)
class AddressProof:
    """What a page's form carries from the mail's request to its use: the link alone proves nothing to others."""

    sid: str
    secret: str

    @property
    def credentials(self) -> dict[str, str]:
        """`threepid_creds` as a client would send them."""
        return {"sid": self.sid, "client_secret": self.secret}


class AddressProofs:
    """Sends the mails. The rates are those of the client-server API."""

    def __init__(self, validation: EmailValidation, limiter: RateLimiter, randomness: Randomness) -> None:
        self._validation = validation
        self._limiter = limiter
        self._randomness = randomness

    @property
    def are_possible(self) -> bool:
        """Whether this server sends mail."""
        return self._validation.is_possible

    async def begin(self, purpose: Purpose, address: str, request: Request) -> AddressProof:
        """Sends a link. Raises LimitExceeded, InvalidParam, MatrixError (M_THREEPID_DENIED)."""
        secret = self._randomness.token(32)
        ask = Ask(address=address, client_secret=secret, send_attempt=1, language=language_of(request.headers))
        return AddressProof(await self.ask(purpose, ask, request.network), secret)

    async def ask(self, purpose: Purpose, ask: Ask, requester: str, user_id: UserId | None = None) -> str:
        """The same for a client, which keeps the secret itself: the `sid`. `requester` is a network, or who is known.

        Raises as `begin` does.
        """
        self._limiter.check("email_requester", requester)
        self._limiter.check("email_address", parse_email_address(ask.address))
        return await self._validation.request(purpose, ask, user_id)


def proof_in(fields: dict[str, str]) -> AddressProof | None:
    """What a form brings back."""
    return AddressProof(fields["sid"], fields.get("secret", "")) if fields.get("sid") else None
