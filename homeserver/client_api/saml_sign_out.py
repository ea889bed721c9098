"""Where SAML identity providers say that somebody has signed out there."""

from __future__ import annotations

from collections.abc import Mapping

import structlog

from homeserver.accounts.saml import PATH, Onward, SamlProvider
from homeserver.accounts.saml_answers import Refused
from homeserver.accounts.upstream_sessions import Ending, Replayed, UpstreamSessions
from homeserver.client_api.visits import LOGIN_PATH
from homeserver.core.errors import NotFound
from homeserver.runtime.ids import Randomness
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import read_form
from homeserver.web.pages import Pages, language_of

log = structlog.get_logger()

LOGOUT = PATH + "/{provider_id}/logout"
_NOT_KEPT = {"Cache-Control": "no-store"}


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

    @endpoint("GET", LOGOUT, access=Access.NONE, limit="sign_out", spec="")
    async def by_redirect(self, request: Request, provider_id: str) -> Answer:
        provider = self._named(provider_id)
        if "SAMLResponse" in request.raw_query:
            return _back_here()
        return await self._follow(provider, request, request.query_string, {})

    @endpoint("POST", LOGOUT, access=Access.NONE, limit="sign_out", raw_body=True, spec="")
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


def _back_here() -> Answer:
    """The provider answers that somebody has signed out there: nothing hangs on it here."""
    return Answer(b"", 303, "text/plain", {"Location": LOGIN_PATH, **_NOT_KEPT})
