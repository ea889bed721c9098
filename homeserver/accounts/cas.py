"""A sign-in service that speaks CAS, protocol 3.0: it sends the browser back with a ticket, which it is asked about."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping
from urllib.parse import urlencode

import structlog

from homeserver.accounts.sso import AFTER_LOGOUT, Begun, Identity, SsoFailed
from homeserver.config.sign_in import CasService as CasConfig
from homeserver.core.errors import Forbidden
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

ANSWER_BYTES_MAX = 256 * 1024
TICKET_CHARS_MAX = 1_000
ORDER_CHARS_MAX = 16_000
_PROTOCOL = "urn:oasis:names:tc:SAML:2.0:protocol"
_NAMES = {"cas": "http://www.yale.edu/tp/cas"}


class CasProvider:
    """Implements `homeserver.accounts.sso.SignInService`."""

    def __init__(self, config: CasConfig, outgoing: Outgoing, *, base_url: str) -> None:
        self.id, self.name, self.brand = config.id, config.name, config.brand
        self.config = config
        self.timeout_s: float = config.timeout_s
        self._base = config.url.rstrip("/")
        self.provider = f"cas {self._base}"
        self._outgoing = outgoing
        self._back_here = base_url + AFTER_LOGOUT

    async def url(self, begun: Begun, state: str, callback: str) -> str:
        return f"{self._base}/login?{urlencode({'service': _service(callback, state)})}"

    async def identity(self, query: Mapping[str, str], begun: Begun, state: str, callback: str) -> Identity:
        ticket = query.get("ticket", "")
        if not 0 < len(ticket) <= TICKET_CHARS_MAX:
            raise Forbidden("the sign-in service let nobody in")
        asked = urlencode({"service": _service(callback, state), "ticket": ticket})
        try:
            answer = await self._outgoing.request(
                "GET",
                f"{self._base}/p3/serviceValidate?{asked}",
                headers={"Accept": "application/xml"},
                timeout_s=self.timeout_s,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
        except OutgoingError as error:
            log.warning("sign_in_service_failed", provider=self.id, error=error.reason)
            raise SsoFailed("the sign-in service gives no answer") from None
        if answer.status != 200:
            raise SsoFailed("the sign-in service refused")
        return self._read(answer.body, ticket)

    async def way_out(self, details: bytes, number: str) -> str | None:
        """Where somebody signs out there too; None where that isn't wanted. spec: CAS protocol 3.0, section 2.3"""
        if not self.config.logout_there:
            return None
        return f"{self._base}/logout?{urlencode({'service': self._back_here})}"

    def ended_ticket(self, order: str) -> str | None:
        """The ticket whose session has ended, if this is an order of CAS. spec: CAS protocol 3.0, section 2.3.3"""
        if not 0 < len(order) <= ORDER_CHARS_MAX or "<!" in order:
            return None
        try:
            root = ET.fromstring(order)
        except (ET.ParseError, ValueError, LookupError):
            return None
        if root.tag != f"{{{_PROTOCOL}}}LogoutRequest":
            return None
        found = root.findall(f"{{{_PROTOCOL}}}SessionIndex")
        ticket = (found[0].text or "").strip() if len(found) == 1 else ""
        return ticket if 0 < len(ticket) <= TICKET_CHARS_MAX else None

    def _read(self, body: bytes, ticket: str) -> Identity:
        # Nothing that CAS says needs a document type, and nothing else does harm here.
        # Without NUL: in UTF-16 a document type would go by unseen.
        if b"<!" in body or b"\x00" in body:
            raise SsoFailed("the sign-in service's answer can't be used")
        try:
            success = ET.fromstring(body).find("cas:authenticationSuccess", _NAMES)
        except (ET.ParseError, ValueError, LookupError):
            raise SsoFailed("the sign-in service's answer can't be used") from None
        if success is None:
            raise Forbidden("the sign-in service let nobody in")
        user = (success.findtext("cas:user", "", _NAMES) or "").strip()
        name = success.findtext(f"cas:attributes/cas:{self.config.display_name_attribute}", None, _NAMES)
        return Identity(
            provider=self.provider,
            subject=user,
            wanted=user,
            display_name=name.strip() if name and name.strip() else None,
            session=ticket,
            details=b"{}" if self.config.logout_there else None,
        )


def _service(callback: str, state: str) -> str:
    """Where the browser comes back to: CAS keeps the query, and adds its ticket."""
    return f"{callback}?{urlencode({'state': state})}"
