"""The page on which somebody confirms what their app is about to do, by signing in once more where they do.

For accounts without a password. spec: client-server-api/#user-interactive-authentication-api, m.login.sso
"""

from __future__ import annotations

import hmac
from urllib.parse import urlencode

from homeserver.accounts.sso import SingleSignOn
from homeserver.accounts.uia import SSO, Uia
from homeserver.client_api.visits import Visit, Visits
from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.web.endpoint import Access, Answer, Request, endpoint

_PATHS = (f"/_matrix/client/v3/auth/{SSO}/fallback/web", f"/_matrix/client/r0/auth/{SSO}/fallback/web")
_ONWARD = "/_hansa/sso/stage"
# How an operation begins, and what the page calls it.
_TOLD = (
    ("delete ", "confirm_devices"),
    ("account/deactivate", "confirm_deactivation"),
    ("login/get_token", "confirm_login"),
    ("account/3pid/add ", "confirm_address"),
    ("account/password", "confirm_password"),
    ("keys/", "confirm_keys"),
)


class SsoStagePages:
    """The stage m.login.sso of interactive authentication."""

    def __init__(self, visits: Visits, sso: SingleSignOn, uia: Uia) -> None:
        self._visits = visits
        self._sso = sso
        self._uia = uia

    @endpoint("GET", *_PATHS, access=Access.NONE, limit="page", spec="client-server-api/#fallback")
    async def show(self, request: Request) -> Answer:
        """Says what is confirmed before it goes anywhere: whoever sent the reader here may have begun it."""
        visit = await self._visits.look(request)
        session = request.raw_query.get("session", "")
        try:
            operation, user_id = self._uia.asked_of(session, SSO)
        except NotFound:
            values = {"title": "stage_lost_title", "text": "stage_lost_text"}
            return self._visits.page(visit, "stage_done", values, status=404)
        if self._uia.open_stage(session, SSO).is_done:
            values = {"title": "stage_done_title", "text": "stage_done_text"}
            return self._visits.page(visit, "stage_done", values, script="stage_done.js")
        services = await self._sso.services_of(user_id) if user_id is not None else []
        code = visit.visitor.form_code
        shown = [
            {
                "name": one.name,
                "href": f"{_ONWARD}?{urlencode({'session': session, 'service': one.id, 'form_code': code})}",
            }
            for one in services
        ]
        return self._visits.page(visit, "stage_sso", {"providers": shown, "told": _told(operation), "who": user_id})

    @endpoint("GET", _ONWARD, access=Access.NONE, limit="page", spec="")
    async def go(self, request: Request) -> Answer:
        """On to the service. A link and no form: browsers let a form lead on to our own pages alone."""
        visit, query = await self._visits.look(request), request.raw_query
        try:
            _check_code(visit, query.get("form_code", ""))
            session = query.get("session", "")
            self._uia.asked_of(session, SSO)
            url = await self._sso.begin(query.get("service", ""), visit.cookie, stage_of=session)
        except MatrixError as error:
            return self._visits.page(visit, "message", {"message": "sso_failed"}, status=error.http_status)
        return self._visits.go(url)


def _check_code(visit: Visit, code: str) -> None:
    """Only our own page leads here: no other site has somebody confirm what they never saw. Raises Forbidden."""
    if visit.visitor.is_new or not hmac.compare_digest(code.encode(), visit.visitor.form_code.encode()):
        raise Forbidden("this link is not from this page")


def _told(operation: str) -> str:
    return next((text for beginning, text in _TOLD if operation.startswith(beginning)), "confirm_other")
