"""Pages for people: templates that escape what they show, in the reader's language.

Invariant: a page loads nothing but our own style sheet and pictures, runs nothing but the one script of ours that it
was made with, and can't be shown inside another site. Only a page with a widget, which is a captcha, loads that from
where the operator says.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from homeserver.web.endpoint import Access, Answer, endpoint
from homeserver.web.translations import LANGUAGES, Text, translate

STYLE_PATH = "/_hansa/style.css"
_ACCEPT_LANGUAGE_CHARS_MAX = 500
# A text by its key, in a language, with values.
Translate = Callable[[Text, str, Mapping[str, object]], str]


@dataclass(frozen=True, slots=True)
class Widget:
    """A script of somebody else's that a page shows something with, and where that may come from, frames included."""

    url: str
    sources: Sequence[str]


class Pages:
    """Renders pages and mails. Also serves the style sheet."""

    def __init__(
        self,
        server_name: str,
        *,
        package: str = "homeserver.web",
        translate: Translate = translate,
        policy: str = "",
        filters: Mapping[str, Callable[[Any], str]] | None = None,
    ) -> None:
        """`package` holds the folder `templates`; `policy` is what its pages may do beyond showing our style sheet.

        `filters` are what its templates may write behind a `|`.
        """
        self._server_name = server_name
        self._translate = translate
        self._policy = policy
        self._loader = loader = PackageLoader(package, "templates")
        self._pages = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, auto_reload=False)
        self._pages.filters.update(filters or {})
        # Mails are plain text: nothing in them is ever read as markup.
        self._mails = Environment(loader=loader, autoescape=False, undefined=StrictUndefined, auto_reload=False)

    def page(
        self,
        name: str,
        language: str,
        values: Mapping[str, Any] | None = None,
        *,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
        form_targets: str = "'self'",
        script: str | None = None,
        widget: Widget | None = None,
        pictures: bool = False,
    ) -> Answer:
        """A page as an answer. `form_targets` names where its forms may lead, redirects included.

        With `pictures` it may show such as this server serves.

        `script` is the name of a file beside the templates; the browser runs it by its hash, and nothing else but the
        widget's.
        """
        usual = self._usual(language)
        ours, others = "", " ".join(widget.sources) if widget is not None else ""
        if script is not None:
            source = self._source(script)
            digest = base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()
            ours = f"'sha256-{digest}'"
            usual["script"] = Markup(source)  # a file of ours
        scripts = f"script-src {ours} {others}; connect-src 'self' {others}; " if ours or others else ""
        if widget is not None:
            usual["widget"] = widget.url
            # Captchas lay out what they show by style attributes.
            scripts += f"frame-src {others}; img-src {others} data:; style-src 'self' 'unsafe-inline'; "
        else:
            scripts += "style-src 'self'; " + ("img-src 'self'; " if pictures else "")
        body = self._pages.get_template(f"{name}.html").render(**(values or {}), **usual)
        return Answer(
            body.encode(),
            status,
            "text/html; charset=utf-8",
            {
                "Content-Security-Policy": f"default-src 'none'; {self._policy}{scripts}"
                f"form-action {form_targets}; frame-ancestors 'none'; base-uri 'none'",
                "X-Frame-Options": "DENY",
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                "Cache-Control": "no-store",
                "Content-Language": language,
                **(headers or {}),
            },
        )

    def mail(self, name: str, language: str, values: Mapping[str, Any]) -> tuple[str, str]:
        """Subject and text of a mail."""
        text = self._mails.get_template(f"{name}.txt").render(**values, **self._usual(language))
        subject, _, body = text.partition("\n")
        return subject.strip(), body.lstrip("\n")

    @endpoint("GET", STYLE_PATH, access=Access.NONE, spec="")
    async def style(self) -> Answer:
        return Answer(
            self._source("style.css").encode(),
            200,
            "text/css; charset=utf-8",
            {"Cache-Control": "public, max-age=3600"},
        )

    def _source(self, name: str) -> str:
        source, _, _ = self._loader.get_source(self._pages, name)
        return source

    def _usual(self, language: str) -> dict[str, Any]:
        def text(key: Text, **values: object) -> str:
            return self._translate(key, language, values)

        told: Callable[..., str] = text
        return {
            "t": told,
            "language": language,
            "server_name": self._server_name,
            "style_path": STYLE_PATH,
            "script": "",
            "widget": "",
        }


def language_of(headers: Mapping[str, str]) -> str:
    """The first language of Accept-Language that we have; English otherwise."""
    for wish in headers.get("Accept-Language", "")[:_ACCEPT_LANGUAGE_CHARS_MAX].split(","):
        primary = wish.partition(";")[0].strip().lower().partition("-")[0]
        if primary in LANGUAGES:
            return primary
    return LANGUAGES[0]
