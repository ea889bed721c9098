"""Where SAML identity providers send browsers back to, and what they must know of us."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, urlencode

from homeserver.accounts.saml import METADATA_TYPE, PATH, SamlProvider
from homeserver.accounts.sso import CALLBACK_PATH, SingleSignOn
from homeserver.core.errors import NotFound
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.forms import read_form

# What we send along with a request, and get back with its answer.
_STATE = re.compile(r"[A-Za-z0-9_-]{43}")


class SamlEndpoints:
    """The address for answers, and our metadata."""

    def __init__(self, providers: Mapping[str, SamlProvider], sso: SingleSignOn) -> None:
        self._providers = providers
        self._sso = sso

    @endpoint("GET", PATH + "/{provider_id}/metadata", access=Access.NONE, limit="page", spec="")
    async def metadata(self, provider_id: str) -> Answer:
        return Answer(self._named(provider_id).metadata().encode(), content_type=METADATA_TYPE)

    @endpoint("POST", PATH + "/{provider_id}", access=Access.NONE, limit="page", raw_body=True, spec="")
    async def answer(self, request: Request, provider_id: str) -> Answer:
        """Whatever came, the browser is sent on to where it shows that it is the one that asked.

        No cookie is looked at or set: the provider's form comes without ours. An answer to nothing that we asked is
        what providers send whose people begin there. It isn't read, as nobody can tell who brings it; the browser is
        sent to ask, as it would have been by our own page.
        """
        provider = self._named(provider_id)
        form = await read_form(request)
        state = form.get("RelayState", "")
        begun = self._sso.under_way(state, provider_id)
        if begun is not None:
            await provider.receive(form.get("SAMLResponse", ""), begun, state)
        onward = f"{CALLBACK_PATH}?{urlencode({'state': state})}"
        if begun is None and _STATE.fullmatch(state) is None:
            onward = f"/_hansa/sso/with/{quote(provider_id, safe='')}"
        headers = {"Location": onward, "Cache-Control": "no-store"}
        return Answer(b"", 303, "text/plain", {**headers, "Referrer-Policy": "no-referrer"})

    def _named(self, provider_id: str) -> SamlProvider:
        provider = self._providers.get(provider_id)
        if provider is None:
            raise NotFound("there is no such sign-in service")
        return provider
