"""Signing in at other services. spec: client-server-api/#sso-client-loginauthentication"""

from __future__ import annotations

from urllib.parse import quote, urlencode, urlsplit

from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.accounts.sso import CALLBACK_PATH, SingleSignOn, SsoFailed
from homeserver.accounts.uia import SSO, Uia
from homeserver.client_api.visits import Visit, Visits, safe_next
from homeserver.core.errors import InvalidParam, MatrixError, MissingParam, NotFound, Unavailable
from homeserver.web.endpoint import Access, Answer, Request, endpoint

_V3 = "/_matrix/client/v3/login/sso/redirect"
_OWN = "/_hansa/sso/with/{provider_id}"
_URL_CHARS_MAX = 4_000
# Such addresses would run what they hold.
_NO_PLACES = frozenset({"javascript", "data", "vbscript", "blob", "file", "about", "view-source", ""})


class SsoPages:
    """GET /login/sso/redirect and what follows."""

    def __init__(
        self, visits: Visits, sso: SingleSignOn, browser: BrowserSessions, login_tokens: LoginTokens, uia: Uia
    ) -> None:
        self._uia = uia
        self._visits = visits
        self._sso = sso
        self._browser = browser
        self._login_tokens = login_tokens

    @endpoint(
        "GET",
        _V3,
        access=Access.NONE,
        limit="page",
        spec="client-server-api/#get_matrixclientv3loginssoredirect",
    )
    async def redirect(self, request: Request) -> Answer:
        redirect_url = _redirect_url(request)
        providers = list(self._sso.providers.values())
        if not providers:
            raise NotFound("there is no sign-in service here")
        visit = await self._visits.look(request)
        if len(providers) == 1:
            return await self._begin(visit, providers[0].id, redirect_url=redirect_url)
        query = urlencode({"redirectUrl": redirect_url})
        shown = [{"name": one.name, "href": f"{_V3}/{quote(one.id, safe='')}?{query}"} for one in providers]
        return self._visits.page(visit, "choose", {"providers": shown})

    @endpoint(
        "GET",
        _V3 + "/{idp_id}",
        access=Access.NONE,
        limit="page",
        spec="client-server-api/#get_matrixclientv3loginssoredirectidpid",
    )
    async def redirect_to(self, request: Request, idp_id: str) -> Answer:
        redirect_url = _redirect_url(request)
        return await self._begin(await self._visits.look(request), idp_id, redirect_url=redirect_url)

    @endpoint("GET", _OWN, access=Access.NONE, limit="page", spec="")
    async def for_our_pages(self, request: Request, provider_id: str) -> Answer:
        onward = safe_next(request.raw_query.get("next"), "/_hansa/account")
        return await self._begin(await self._visits.look(request), provider_id, onward=onward)

    @endpoint("GET", CALLBACK_PATH, access=Access.NONE, limit="page", acts=True, spec="")
    async def callback(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        try:
            arrived = await self._sso.finish(request.raw_query, visit.cookie)
            user_id, begun = arrived.user_id, arrived.begun
            if begun.stage_of is not None:
                self._uia.pass_elsewhere(begun.stage_of, SSO, user_id)
                values = {"title": "stage_done_title", "text": "stage_done_text"}
                return self._visits.page(visit, "stage_done", values, script="stage_done.js")
        except MatrixError as error:
            return self._visits.page(visit, "message", {"message": "sso_failed"}, status=error.http_status)
        if begun.redirect_url is None:
            return self._visits.go(begun.onward, cookie=await self._browser.open(user_id, arrived.upstream))
        # Shown before it goes anywhere: whoever sent the reader here chose where to.
        token, _ = await self._login_tokens.give(user_id, arrived.upstream)
        url = begun.redirect_url
        onward = f"{url}{'&' if '?' in url else '?'}{urlencode({'loginToken': token})}"
        parts = urlsplit(url)
        values = {"onward": onward, "host": parts.hostname or parts.scheme, "who": user_id}
        return self._visits.page(visit, "sso_confirm", values)

    async def _begin(
        self, visit: Visit, provider_id: str, *, onward: str = "", redirect_url: str | None = None
    ) -> Answer:
        try:
            url = await self._sso.begin(provider_id, visit.cookie, onward=onward, redirect_url=redirect_url)
        except (SsoFailed, Unavailable) as error:
            return self._visits.page(visit, "message", {"message": "sso_failed"}, status=error.http_status)
        return self._visits.go(url, cookie=visit.cookie if visit.visitor.is_new else None)


def _redirect_url(request: Request) -> str:
    """Raises MissingParam, InvalidParam for what a browser must not be sent to."""
    url = request.raw_query.get("redirectUrl")
    if url is None:
        raise MissingParam("the query parameter redirectUrl is missing")
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme in _NO_PLACES or len(url) > _URL_CHARS_MAX or not url.isprintable() or "#" in url:
        raise InvalidParam("redirectUrl is no address to go to")
    return url
