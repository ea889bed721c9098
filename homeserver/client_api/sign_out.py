"""Where sign-in services say that somebody has signed out there, and where people sign out of everything here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from homeserver.accounts.cas import CasProvider
from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.openid_logout import OpenIdLogout
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.sso import CALLBACK_PATH
from homeserver.accounts.upstream_sessions import Ending, UpstreamSessions
from homeserver.client_api.visits import LOGIN_PATH, Visits
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import read_form

# The second is Synapse's, which services may have been told of.
OPENID_PATH, _SYNAPSES = "/_hansa/sso/backchannel_logout", "/_synapse/client/oidc/backchannel_logout"
_NOT_KEPT = {"Cache-Control": "no-store"}


class OpenIdSignOut:
    """The address for logout tokens. spec: OpenID Connect Back-Channel Logout 1.0"""

    def __init__(self, logout: OpenIdLogout) -> None:
        self._logout = logout

    @endpoint("POST", OPENID_PATH, _SYNAPSES, access=Access.NONE, limit="sign_out", raw_body=True, spec="")
    async def logout(self, request: Request) -> Answer:
        try:
            form = await read_form(request)
        except MatrixError as error:
            raise OAuthError("invalid_request", error.message, status=error.http_status) from None
        await self._logout.end(form.get("logout_token", ""))
        return Answer(b"", 200, headers=_NOT_KEPT)


class CasSignOut:
    """Where CAS says that a ticket's session has ended: at the address that the ticket was given for.

    Nothing signs it. Who knows the ticket is CAS, the person's browser and this server.
    """

    def __init__(self, providers: Sequence[CasProvider], upstream: UpstreamSessions) -> None:
        self._providers = providers
        self._upstream = upstream

    @endpoint("POST", CALLBACK_PATH, access=Access.NONE, limit="sign_out", raw_body=True, spec="")
    async def logout(self, request: Request) -> Answer:
        form = await read_form(request)
        for provider in self._providers:
            ticket = provider.ended_ticket(form.get("logoutRequest", ""))
            if ticket is None:
                raise InvalidParam("logoutRequest names no ticket")
            if await self._upstream.knows(provider.provider, ticket):
                await self._upstream.end(Ending(provider=provider.provider, sessions=[ticket]))
        return Answer(b"", 200, "text/plain", _NOT_KEPT)


class SignOutEverywhere:
    """/_hansa/logout/all: every device and every browser; the page shows the way to sign out at the service too.

    `way_out` is given the service of the reader's sign-in and what it must be told.
    """

    def __init__(
        self,
        visits: Visits,
        browser: BrowserSessions,
        sessions: Sessions,
        upstream: UpstreamSessions,
        way_out: Callable[[str, bytes], Awaitable[str | None]],
    ) -> None:
        self._visits = visits
        self._browser = browser
        self._sessions = sessions
        self._upstream = upstream
        self._way_out = way_out

    @endpoint("POST", "/_hansa/logout/all", access=Access.NONE, limit="page", raw_body=True, spec="")
    async def logout(self, request: Request) -> Answer:
        visit, _ = await self._visits.form(request)
        if visit.user_id is None:
            return self._visits.go(LOGIN_PATH)
        known = await self._upstream.details(visit.upstream)
        await self._sessions.end_all(visit.user_id)
        await self._browser.close_all(visit.user_id)
        onward = await self._way_out(*known) if known is not None else None
        return self._visits.page(visit, "signed_out", {"onward": onward or ""})
