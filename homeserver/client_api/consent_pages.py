"""Pages on which people let clients in. spec: client-server-api/#login-flows"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode, urlsplit

from homeserver.accounts.oauth.client_metadata import form_target, in_language, name_of
from homeserver.accounts.oauth.grants import Asked, BadRedirect, Grants, Refused
from homeserver.client_api.visits import LOGIN_PATH, REGISTER_PATH, Visit, Visits
from homeserver.web.endpoint import Access, Answer, Request, endpoint
from homeserver.web.rate_limits import RateLimiter

_AUTHORIZE = "/_hansa/oauth/authorize"
_LINK = "/_hansa/link"
# What of a request goes through the consent form and back.
_CARRIED = "client_id redirect_uri response_type response_mode scope state code_challenge code_challenge_method".split()


class ConsentPages:
    """/_hansa/oauth/authorize for browsers, /_hansa/link for devices without one. `issuer` is as the metadata say."""

    def __init__(self, visits: Visits, grants: Grants, limiter: RateLimiter, issuer: str) -> None:
        self._visits = visits
        self._grants = grants
        self._limiter = limiter
        self._issuer = issuer

    @endpoint("GET", _AUTHORIZE, access=Access.NONE, limit="page", spec="")
    async def authorize(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        query = dict(request.raw_query)
        try:
            asked = await self._grants.parse(query)
        except (BadRedirect, Refused) as error:
            return self._refused(visit, error)
        if visit.user_id is None:
            carried = {key: query[key] for key in _CARRIED if key in query}
            onward = {"next": f"{_AUTHORIZE}?{urlencode(carried)}"}
            if asked.wants_to_register:
                return self._visits.go(f"{REGISTER_PATH}?{urlencode(onward)}")
            hint = {"login_hint": query["login_hint"]} if "login_hint" in query else {}
            return self._visits.go(f"{LOGIN_PATH}?{urlencode(onward | hint)}")
        return self._consent(visit, asked, query)

    @endpoint("POST", _AUTHORIZE, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def decide(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        try:
            asked = await self._grants.parse(fields)
            if visit.user_id is None:
                return self._visits.go(LOGIN_PATH)
            back = (asked.redirect_uri, asked.response_mode, asked.state)
            if fields.get("decision") != "allow":
                raise Refused("access_denied", "the user denied it", back)
        except (BadRedirect, Refused) as error:
            return self._refused(visit, error)
        code = await self._grants.allow(asked, visit.user_id, visit.upstream)
        return self._visits.go(self._back(*back, {"code": code}))

    @endpoint("GET", _LINK, access=Access.NONE, limit="page", spec="")
    async def link(self, request: Request) -> Answer:
        visit = await self._visits.look(request)
        code = request.raw_query.get("user_code", "")[:20]
        if visit.user_id is None:
            onward = f"{_LINK}?{urlencode({'user_code': code})}" if code else _LINK
            return self._visits.go(f"{LOGIN_PATH}?next={quote(onward, safe='')}")
        return await self._device(visit, code)

    @endpoint("POST", _LINK, access=Access.NONE, limit="page", raw_body=True, spec="")
    async def decide_link(self, request: Request) -> Answer:
        visit, fields = await self._visits.form(request)
        if visit.user_id is None:
            return self._visits.go(LOGIN_PATH)
        decision, code = fields.get("decision"), fields.get("user_code", "")
        if decision not in ("allow", "deny"):
            return await self._device(visit, code)
        self._limiter.check("oauth_user_code", visit.user_id)
        found = await self._grants.waiting_device(code)
        if found is None or not await self._grants.decide_device(
            found[0], visit.user_id, is_denied=decision == "deny", upstream=visit.upstream
        ):
            return self._visits.page(visit, "link", {"device": None, "error": "wrong_code"}, status=400)
        return self._visits.page(visit, "message", {"message": "linked" if decision == "allow" else "not_linked"})

    async def _device(self, visit: Visit, code: str) -> Answer:
        """The form for a code; with a code, which client waits behind it."""
        if not code or visit.user_id is None:
            return self._visits.page(visit, "link", {"device": None})
        self._limiter.check("oauth_user_code", visit.user_id)
        found = await self._grants.waiting_device(code)
        if found is None:
            return self._visits.page(visit, "link", {"device": None, "error": "wrong_code"}, status=400)
        device, client = found
        shown = {
            "user_code": f"{device.user_code[:4]}-{device.user_code[4:]}",
            "client_name": name_of(client, visit.language),
            "client_host": urlsplit(str(client["client_uri"])).hostname,
        }
        return self._visits.page(visit, "link", {"device": shown})

    def _consent(self, visit: Visit, asked: Asked, query: Mapping[str, str]) -> Answer:
        values = {
            "client_name": name_of(asked.client, visit.language),
            "client_host": urlsplit(str(asked.client["client_uri"])).hostname,
            "redirect_host": urlsplit(asked.redirect_uri).hostname or urlsplit(asked.redirect_uri).scheme,
            "tos_uri": in_language(asked.client, "tos_uri", visit.language),
            "policy_uri": in_language(asked.client, "policy_uri", visit.language),
            "device_id": asked.device_id,
            "carried": {key: query[key] for key in _CARRIED if key in query},
            "action": _AUTHORIZE,
        }
        # Browsers hold redirects after a form to the same rule as the form itself.
        targets = f"'self' {form_target(asked.redirect_uri)}"
        return self._visits.page(visit, "consent", values, form_targets=targets)

    def _refused(self, visit: Visit, error: BadRedirect | Refused) -> Answer:
        if isinstance(error, Refused):
            told = {"error": error.error, "error_description": error.message}
            return self._visits.go(self._back(error.redirect_uri, error.response_mode, error.state, told))
        return self._visits.page(visit, "message", {"message": "bad_client"}, status=400)

    def _back(self, redirect_uri: str, mode: str, state: str, told: Mapping[str, str]) -> str:
        """Where the client hears this; who says so as well, so that no other server's answer is taken for ours."""
        # https://www.rfc-editor.org/rfc/rfc9207#section-2
        query = urlencode({**told, **({"state": state} if state else {}), "iss": self._issuer})
        if mode == "fragment":
            return f"{redirect_uri}#{query}"
        return f"{redirect_uri}{'&' if '?' in redirect_uri else '?'}{query}"
