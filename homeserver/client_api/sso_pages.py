"""Signing in at other services. spec: client-server-api/#sso-client-loginauthentication"""

from __future__ import annotations

from urllib.parse import quote, unquote_plus, urlencode, urlsplit

from homeserver.accounts.login_tokens import LoginTokens
from homeserver.accounts.oauth.browser import BrowserSessions
from homeserver.accounts.sso import CALLBACK_PATH, SingleSignOn, SsoFailed
from homeserver.accounts.uia import SSO, Uia
from homeserver.client_api.visits import LOGIN_PATH, REGISTER_PATH, Visit, Visits, safe_next
from homeserver.core.errors import InvalidParam, MatrixError, MissingParam, Unavailable
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Access, Answer, Request, endpoint

_V3 = "/_matrix/client/v3/login/sso/redirect"
_OWN = "/_hansa/sso/with/{provider_id}"
_APP = "/_hansa/sso/app"
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
            action = {"action": "register"} if request.raw_query.get("action") == "register" else {}
            return self._visits.go(f"{_APP}?{urlencode({'redirectUrl': redirect_url, **action})}")
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

    @endpoint("GET", _APP, access=Access.NONE, limit="page", acts=True, spec="")
    async def by_our_pages(self, request: Request) -> Answer:
        """For apps of the older API where people sign in on our own pages. spec: #oauth-20-aware-clients"""
        redirect_url, visit = _redirect_url(request), await self._visits.look(request)
        if visit.user_id is None:
            page = REGISTER_PATH if request.raw_query.get("action") == "register" else LOGIN_PATH
            onward = f"{_APP}?{urlencode({'redirectUrl': redirect_url})}"
            return self._visits.go(f"{page}?{urlencode({'next': onward})}")
        return await self._confirm(visit, visit.user_id, redirect_url, visit.upstream)

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
        return await self._confirm(visit, user_id, begun.redirect_url, arrived.upstream)

    async def _confirm(self, visit: Visit, user_id: UserId, url: str, upstream: int | None) -> Answer:
        """Shown before it goes anywhere: whoever sent the reader here chose where to."""
        token, _ = await self._login_tokens.give(user_id, upstream)
        parts = urlsplit(url)
        values = {"onward": _with_token(url, token), "host": parts.hostname or parts.scheme, "who": user_id}
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
        parts = urlsplit(url)
        scheme, host = parts.scheme.lower(), parts.hostname
    except ValueError:
        scheme, host = "", None
    # Browsers read a backslash as a slash: the page would name another host than they go to.
    is_odd = len(url) > _URL_CHARS_MAX or not url.isprintable() or "\\" in url
    if scheme in _NO_PLACES or is_odd or (scheme in ("http", "https") and not host):
        raise InvalidParam("redirectUrl is no address to go to")
    return url


def _with_token(url: str, token: str) -> str:
    """The address with the token in its query, in place of any that was there; what else it holds stays as it is."""
    address, fragment_mark, fragment = url.partition("#")
    place, _, query = address.partition("?")
    kept = [part for part in query.split("&") if part and unquote_plus(part.partition("=")[0]) != "loginToken"]
    return f"{place}?{'&'.join([*kept, urlencode({'loginToken': token})])}{fragment_mark}{fragment}"
