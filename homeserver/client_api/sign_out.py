"""Where sign-in services say that somebody has signed out there, and where people sign out of everything here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from homeserver.accounts.cas import CasProvider
from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.openid_logout import OpenIdLogout
from homeserver.accounts.saml import PATH as SAML_PATH
from homeserver.accounts.saml import Onward, SamlProvider
from homeserver.accounts.saml_answers import Refused
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.sso import CALLBACK_PATH
from homeserver.accounts.upstream_sessions import Ending, Replayed, UpstreamSessions
from homeserver.client_api.visits import LOGIN_PATH, Visits
from homeserver.core.errors import InvalidParam, MatrixError, NotFound
from homeserver.runtime.ids import Randomness
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import read_form
from homeserver.web.pages import Pages, language_of

log = structlog.get_logger()

# The second is Synapse's, which services may have been told of.
OPENID_PATH, _SYNAPSES = "/_hansa/sso/backchannel_logout", "/_synapse/client/oidc/backchannel_logout"
SAML_LOGOUT = SAML_PATH + "/{provider_id}/logout"
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


class SamlSignOut:
    """Where browsers carry a SAML provider's orders to, by redirect or as a form, and its answers to ours.

    No cookie is looked at or set: what ends is what the order names, whoever's browser carries it.
    """

    def __init__(
        self, providers: Mapping[str, SamlProvider], upstream: UpstreamSessions, pages: Pages, randomness: Randomness
    ) -> None:
        self._providers = providers
        self._upstream = upstream
        self._pages = pages
        self._randomness = randomness

    @endpoint("GET", SAML_LOGOUT, access=Access.NONE, limit="sign_out", spec="")
    async def by_redirect(self, request: Request, provider_id: str) -> Answer:
        provider = self._named(provider_id)
        if "SAMLResponse" in request.raw_query:
            return _back_here()
        return await self._follow(provider, request, request.query_string, {})

    @endpoint("POST", SAML_LOGOUT, access=Access.NONE, limit="sign_out", raw_body=True, spec="")
    async def by_form(self, request: Request, provider_id: str) -> Answer:
        provider = self._named(provider_id)
        form = await read_form(request)
        if "SAMLResponse" in form:
            return _back_here()
        return await self._follow(provider, request, None, form)

    async def _follow(
        self, provider: SamlProvider, request: Request, query: str | None, form: Mapping[str, str]
    ) -> Answer:
        language = language_of(request.headers)
        try:
            order, relay_state = await provider.ordered(query, form)
        except Refused as error:
            log.warning("logout_refused", provider=provider.id, error=str(error))
            return self._pages.page("message", language, {"message": "not_signed_out"}, status=403)
        ending = Ending(
            provider=provider.provider,
            order=order.request_id,
            good_until_ts=int(order.good_until.timestamp() * 1000) + 1000,
            name=order.name,
            sessions=order.sessions,
        )
        try:
            await self._upstream.end(ending)
        except Replayed:
            log.warning("logout_replayed", provider=provider.id)
            return self._pages.page("message", language, {"message": "not_signed_out"}, status=403)
        onward = await provider.done(order, relay_state, self._randomness.token(32))
        if onward is None:
            return self._pages.page("message", language, {"message": "signed_out"})
        return self._sent(onward, language)

    def _sent(self, onward: Onward, language: str) -> Answer:
        if onward.fields is None:
            headers = {"Location": onward.url, **_NOT_KEPT, "Referrer-Policy": "no-referrer"}
            return Answer(b"", 303, "text/plain", headers)
        # Wherever the provider lets the form lead on to.
        values = {"action": onward.url, "fields": onward.fields}
        return self._pages.page("signed_out_form", language, values, form_targets="*", script="signed_out_form.js")

    def _named(self, provider_id: str) -> SamlProvider:
        provider = self._providers.get(provider_id)
        if provider is None or not provider.config.single_logout:
            raise NotFound("there is no such sign-in service")
        return provider


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


def _back_here() -> Answer:
    """The provider answers that somebody has signed out there: nothing hangs on it here."""
    return Answer(b"", 303, "text/plain", {"Location": LOGIN_PATH, **_NOT_KEPT})
