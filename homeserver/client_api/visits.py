"""What all pages share: who visits, in which language, and whether a form is really ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.accounts.oauth.browser import LIFETIME_S, BrowserSessions
from homeserver.core.identifiers import UserId
from homeserver.web.endpoint import Answer, Request
from homeserver.web.forms import SentFile
from homeserver.web.pages import Pages, Widget, language_of
from homeserver.web.visitors import Visitor, Visitors

PATH = "/_hansa"
LOGIN_PATH, REGISTER_PATH = "/_hansa/login", "/_hansa/register"
_NEXT_CHARS_MAX = 8_000


@dataclass(frozen=True, slots=True)
class Visit:
    """Somebody who looks at a page. `user_id` is None before they sign in; `upstream` is how they did, if elsewhere."""

    visitor: Visitor
    user_id: UserId | None
    language: str
    upstream: int | None = None

    @property
    def cookie(self) -> str:
        return self.visitor.cookie


class Visits:
    """Receives visitors."""

    def __init__(self, browser: BrowserSessions, pages: Pages, base_url: str) -> None:
        self._browser = browser
        self._pages = pages
        self._visitors = Visitors(base_url, "hansa", path="/", same_site="Lax", lives_s=_lives_s)

    async def look(self, request: Request) -> Visit:
        """Who asks for a page."""
        visitor = self._visitors.look(request, self._browser.visitor)
        known = None if visitor.is_new else await self._browser.user(visitor.cookie)
        user_id, upstream = known or (None, None)
        return Visit(visitor, user_id, language_of(request.headers), upstream)

    async def form(self, request: Request) -> tuple[Visit, dict[str, str]]:
        """Who sends a form, and its fields. Raises Forbidden for one that isn't ours, InvalidParam."""
        visit = await self.look(request)
        return visit, await self._visitors.fields(request, visit.visitor)

    async def upload(
        self, request: Request, name: str, *, file_bytes_max: int
    ) -> tuple[Visit, dict[str, str], SentFile | None]:
        """The same for a form with a file of this field, which is None where none was chosen. Raises TooLarge too."""
        visit = await self.look(request)
        fields, file = await self._visitors.upload(request, visit.visitor, name, file_bytes_max=file_bytes_max)
        return visit, fields, file

    def page(
        self,
        visit: Visit,
        name: str,
        values: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        form_targets: str = "'self'",
        script: str | None = None,
        widget: Widget | None = None,
        pictures: bool = False,
    ) -> Answer:
        shown = {"user_id": visit.user_id, "form_code": visit.visitor.form_code, "error": "", **(values or {})}
        headers = self._visitors.headers(visit.visitor)
        return self._pages.page(
            name,
            visit.language,
            shown,
            status=status,
            headers=headers,
            form_targets=form_targets,
            script=script,
            widget=widget,
            pictures=pictures,
        )

    def go(self, where: str, *, cookie: str | None = None, ends: bool = False) -> Answer:
        """Sends the browser on; with a new cookie where somebody signed in, without one where they signed out."""
        return self._visitors.go(where, cookie="" if ends and cookie is None else cookie)


def _lives_s(cookie: str) -> int | None:
    return LIFETIME_S if cookie.startswith("s") else None


def safe_next(wanted: str | None, otherwise: str) -> str:
    """Where to go after signing in: one of our own pages and nowhere else."""
    if wanted is None or not wanted.startswith(PATH + "/") or len(wanted) > _NEXT_CHARS_MAX:
        return otherwise
    return wanted if wanted.isascii() and wanted.isprintable() and "\\" not in wanted else otherwise
