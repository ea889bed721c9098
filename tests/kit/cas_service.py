"""A sign-in service that speaks CAS, as small as can be; it lets in whoever it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, urlsplit

from aiohttp import web

from tests.kit.listening import listening

_SAID = """<cas:serviceResponse xmlns:cas="http://www.yale.edu/tp/cas">{}</cas:serviceResponse>"""
REFUSED = '<cas:authenticationFailure code="INVALID_TICKET">no</cas:authenticationFailure>'


class CasServer:
    """`user` and `name` are whom it says has signed in; `answer` replaces all that it says."""

    def __init__(self) -> None:
        self.port = 0
        self.user, self.name = "Alice", "Alice Liddell"
        self.answer: bytes | None = None
        self._tickets: dict[str, str] = {}
        self._given = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/cas"

    @staticmethod
    def order(ticket: str) -> str:
        """What it posts when the session of a ticket has ended there."""
        return (
            '<samlp:LogoutRequest xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" ID="LR-1" Version="2.0" '
            'IssueInstant="2026-01-01T00:00:00Z"><saml:NameID xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">'
            f"@NOT_USED@</saml:NameID><samlp:SessionIndex>{ticket}</samlp:SessionIndex></samlp:LogoutRequest>"
        )

    def sign_in(self, url: str) -> str:
        """Somebody follows our redirect and signs in: where the browser is sent."""
        assert url.startswith(f"{self.url}/login?")
        service = parse_qs(urlsplit(url).query)["service"][0]
        self._given += 1
        ticket = f"ST-{self._given}"
        self._tickets[ticket] = service
        return f"{service}&ticket={ticket}"

    async def validate(self, request: web.Request) -> web.Response:
        """A ticket counts once, for the service that it was given for."""
        known = self._tickets.pop(request.query["ticket"], None)
        said = _SAID.format(REFUSED)
        if known is not None and known == request.query["service"]:
            said = _SAID.format(
                f"<cas:authenticationSuccess><cas:user>{self.user}</cas:user><cas:attributes>"
                f"<cas:displayName>{self.name}</cas:displayName></cas:attributes></cas:authenticationSuccess>"
            )
        return web.Response(body=said.encode() if self.answer is None else self.answer, content_type="application/xml")


@asynccontextmanager
async def cas_server() -> AsyncIterator[CasServer]:
    """Listens on a free port of the loopback."""
    service, app = CasServer(), web.Application()
    app.router.add_get("/cas/p3/serviceValidate", service.validate)
    async with listening(app) as service.port:
        yield service
