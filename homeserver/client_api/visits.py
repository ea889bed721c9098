"""What all pages share: who visits, in which language, and whether a form is really ours.

A form counts only with the code that the page gave this visitor, and only from our own pages; so no other site can
make somebody's browser do anything here.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.accounts.oauth.browser import LIFETIME_S, BrowserSessions
from homeserver.core.errors import Forbidden
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Answer, Request
from homeserver.web.forms import cookie, form_code, is_same_origin, read_form, set_cookie
from homeserver.web.pages import Pages, language_of

PATH = "/_hansa"
LOGIN_PATH = "/_hansa/login"
_NEXT_CHARS_MAX = 8_000


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who looks at a page. `user_id` is None before they sign in."""

    cookie: str
    is_new: bool
    user_id: UserId | None
    language: str


class Visits:
    """Receives visitors."""

    def __init__(self, browser: BrowserSessions, pages: Pages, base_url: str) -> None:
        self._browser = browser
        self._pages = pages
        self._base_url = base_url
        self._is_secure = base_url.startswith("https:")
        # The prefix has browsers refuse such a cookie from other hosts of the domain, and without encryption.
        self._name = "__Host-hansa" if self._is_secure else "hansa"

    async def look(self, request: Request) -> Visit:
        """Who asks for a page."""
        known = cookie(request, self._name)
        is_usable = known is not None and 20 <= len(known) <= 128 and known.isascii()
        value = known if known is not None and is_usable else self._browser.visitor()
        return Visit(value, not is_usable, await self._browser.user(known), language_of(request.headers))

    async def form(self, request: Request) -> tuple[Visit, dict[str, str]]:
        """Who sends a form, and its fields. Raises Forbidden for one that isn't ours, InvalidParam."""
        visit = await self.look(request)
        fields = await read_form(request)
        code = fields.pop("form_code", "")
        is_ours = hmac.compare_digest(code.encode(), form_code(visit.cookie).encode())
        if visit.is_new or not is_ours or not is_same_origin(request.headers, self._base_url):
            raise Forbidden("this form is not from this page: go back, load the page again and retry")
        return visit, fields

    def page(
        self,
        visit: Visit,
        name: str,
        values: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        form_targets: str = "'self'",
        script: str | None = None,
    ) -> Answer:
        shown = {"user_id": visit.user_id, "form_code": form_code(visit.cookie), "error": "", **(values or {})}
        headers = {"Set-Cookie": self._cookie(visit.cookie)} if visit.is_new else {}
        return self._pages.page(
            name, visit.language, shown, status=status, headers=headers, form_targets=form_targets, script=script
        )

    def go(self, where: str, *, cookie: str | None = None, ends: bool = False) -> Answer:
        """Sends the browser on; with a new cookie where somebody signed in, without one where they signed out."""
        headers = {"Location": where, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        if cookie is not None:
            headers["Set-Cookie"] = self._cookie(cookie)
        elif ends:
            headers["Set-Cookie"] = set_cookie(self._name, "", path="/", is_secure=self._is_secure, lifetime_s=0)
        return Answer(b"", 303, "text/plain", headers)

    def _cookie(self, value: str) -> str:
        lifetime_s = LIFETIME_S if value.startswith("s") else None
        return set_cookie(self._name, value, path="/", is_secure=self._is_secure, lifetime_s=lifetime_s)


def safe_next(wanted: str | None, otherwise: str) -> str:
    """Where to go after signing in: one of our own pages and nowhere else."""
    if wanted is None or not wanted.startswith(PATH + "/") or len(wanted) > _NEXT_CHARS_MAX:
        return otherwise
    return wanted if wanted.isascii() and wanted.isprintable() and "\\" not in wanted else otherwise
