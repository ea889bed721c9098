"""People who come with a browser: the cookie that knows them again, forms that are really ours, and sending them on.

A form counts only with the code that a page gave this cookie's holder, and only from our own pages; so no other site
can make somebody's browser do anything here.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from homeserver.core.errors import Forbidden
from homeserver.web.endpoint import Answer, Request
from homeserver.web.forms import (
    SentFile,
    cookie,
    form_code,
    is_same_origin,
    read_form,
    read_form_with_file,
    set_cookie,
)

COOKIE_CHARS = range(20, 129)


@dataclass(frozen=True, slots=True)
class Visitor:
    """`cookie` is known again with the next request; one that `is_new` must be set with the answer."""

    cookie: str
    is_new: bool

    @property
    def form_code(self) -> str:
        """What each form of a page that they get must hold."""
        return form_code(self.cookie)


class Visitors:
    """Receives them, at pages below `path`. `lives_s` says how long a cookie's value is good for, None: as long as
    the browser is open."""

    def __init__(
        self,
        base_url: str,
        name: str,
        *,
        path: str,
        same_site: Literal["Lax", "Strict"],
        lives_s: Callable[[str], int | None],
    ) -> None:
        self._base_url = base_url
        self._path = path
        self._same_site = same_site
        self._lives_s = lives_s
        self._is_secure = base_url.startswith("https:")
        # The prefix has browsers refuse such a cookie without encryption, and for `/` from other hosts of the domain.
        prefix = "__Host-" if path == "/" else "__Secure-"
        self._name = prefix + name if self._is_secure else name

    def known(self, request: Request) -> str | None:
        """The cookie that somebody brings along, if it can be one of ours."""
        value = cookie(request, self._name)
        return value if value is not None and len(value) in COOKIE_CHARS and value.isascii() else None

    def look(self, request: Request, fresh: Callable[[], str]) -> Visitor:
        """Who asks for a page; `fresh` makes a cookie's value for those who bring none."""
        value = self.known(request)
        return Visitor(fresh(), True) if value is None else Visitor(value, False)

    async def fields(self, request: Request, visitor: Visitor) -> dict[str, str]:
        """What a form says. Raises Forbidden for one that isn't ours, InvalidParam, TooLarge."""
        return self._ours(request, visitor, await read_form(request))

    async def upload(
        self, request: Request, visitor: Visitor, name: str, *, file_bytes_max: int
    ) -> tuple[dict[str, str], SentFile | None]:
        """The same of a form with a file field of this name, and the file. Raises as `fields` does."""
        fields, file = await read_form_with_file(request, name, file_bytes_max=file_bytes_max)
        return self._ours(request, visitor, fields), file

    def _ours(self, request: Request, visitor: Visitor, fields: dict[str, str]) -> dict[str, str]:
        code = fields.pop("form_code", "")
        is_ours = hmac.compare_digest(code.encode(), visitor.form_code.encode())
        if visitor.is_new or not is_ours or not is_same_origin(request.headers, self._base_url):
            raise Forbidden("this form is not from this page: go back, load the page again and retry")
        return fields

    def headers(self, visitor: Visitor) -> dict[str, str]:
        """What goes along with a page."""
        return {"Set-Cookie": self.setting(visitor.cookie)} if visitor.is_new else {}

    def setting(self, value: str) -> str:
        """The header that sets the cookie; one that is empty goes."""
        lifetime_s = self._lives_s(value) if value else 0
        return self.set_other(self._name, value, lifetime_s)

    def set_other(self, name: str, value: str, lifetime_s: int | None = None) -> str:
        """The header that sets another cookie for the same pages."""
        return set_cookie(
            name, value, path=self._path, is_secure=self._is_secure, lifetime_s=lifetime_s, same_site=self._same_site
        )

    def go(self, where: str, *, cookie: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        """Sends the browser on: with another cookie where somebody signs in, with an empty one where they sign out."""
        sent = {**(headers or {}), "Location": where, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        if cookie is not None:
            sent["Set-Cookie"] = self.setting(cookie)
        return Answer(b"", 303, "text/plain", sent)
