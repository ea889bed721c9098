"""What a webhook says in a room: built once, as text and as HTML. Pure.

Whatever came from outside is escaped, links lead nowhere but to http(s), and lengths are bounded.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

WORDS_CHARS_MAX = 500
MESSAGE_CHARS_MAX = 16_000
_ITEMS_MAX = 1_000
_WEB = re.compile(r"https?://[^\s\"'<>]+\Z", re.IGNORECASE)
_SPACES = re.compile(r"[\x00-\x1f\x7f]+")

AlertState = Literal["firing", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`group` names what later messages replace this one by: an alert that goes on, until it is `resolved`."""

    text: str
    html: str
    group: str | None = None
    state: AlertState | None = None

    def content(self) -> dict[str, Any]:
        """As the content of an `m.room.message`. spec: client-server-api/#mroommessage"""
        return {
            "msgtype": "m.notice",
            "body": self.text,
            "format": "org.matrix.custom.html",
            "formatted_body": self.html,
            "m.mentions": {},
        }


class Writer:
    """Puts a message together, piece by piece; each call gives the writer back."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._html: list[str] = []

    def say(self, words: str) -> Writer:
        return self._add(words, html.escape(words))

    def bold(self, words: str) -> Writer:
        return self._add(words, f"<strong>{html.escape(words)}</strong>")

    def code(self, words: str) -> Writer:
        return self._add(words, f"<code>{html.escape(words)}</code>")

    def block(self, words: str) -> Writer:
        """Several lines as they are."""
        return self._add(words, f"<pre><code>{html.escape(words)}</code></pre>")

    def link(self, words: str, url: str) -> Writer:
        """The words alone where the URL is none for the web."""
        if not _WEB.match(url):
            return self.say(words)
        text = words if words == url else f"{words} ({url})"
        return self._add(text, f'<a href="{html.escape(url)}">{html.escape(words)}</a>')

    def line(self) -> Writer:
        return self._add("\n", "<br>")

    def quote(self, words: str) -> Writer:
        """In lines of its own."""
        if not words:
            return self
        text = "\n".join(f"> {line}" for line in words.splitlines())
        shown = "<br>".join(html.escape(line) for line in words.splitlines())
        return self._add(f"\n{text}", f"<blockquote>{shown}</blockquote>")

    def message(self, group: str | None = None, state: AlertState | None = None) -> Message:
        """All of it; the HTML gives way to plain text where both would be too long."""
        text, shown = "".join(self._text).strip(), "".join(self._html)
        if len(shown) > MESSAGE_CHARS_MAX or len(text) > MESSAGE_CHARS_MAX:
            text = clipped(text, MESSAGE_CHARS_MAX // 2)
            shown = html.escape(text).replace("\n", "<br>")
        return Message(text=text, html=shown, group=group, state=state)

    def _add(self, text: str, shown: str) -> Writer:
        self._text.append(text)
        self._html.append(shown)
        return self


class Payload:
    """JSON from outside, read without surprises: what is missing or of another type is empty.

    A path is written with dots: `pull_request.user.login`.
    """

    def __init__(self, value: object) -> None:
        self.value = value

    def at(self, path: str) -> Payload:
        value: object = self.value
        for key in path.split("."):
            if isinstance(value, list):
                value = value[int(key)] if key.isdecimal() and len(key) < 6 and int(key) < len(value) else None
            else:
                value = value.get(key) if isinstance(value, Mapping) else None
        return Payload(value)

    def words(self, path: str, chars_max: int = WORDS_CHARS_MAX) -> str:
        """One line of text; numbers and truth values as JSON writes them."""
        return _SPACES.sub(" ", self.lines(path, chars_max)).strip()

    def lines(self, path: str, chars_max: int = WORDS_CHARS_MAX) -> str:
        """Text of several lines."""
        value = self.at(path).value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return str(value)[:chars_max]
        return clipped(value.replace("\x00", ""), chars_max) if isinstance(value, str) else ""

    def number(self, path: str) -> int:
        value = self.at(path).value
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    def items(self, path: str) -> list[Payload]:
        value = self.at(path).value
        return [Payload(one) for one in value[:_ITEMS_MAX]] if isinstance(value, list) else []

    def entries(self, path: str) -> Iterator[tuple[str, str]]:
        """The keys of an object with their values as words."""
        value = self.at(path).value
        if isinstance(value, Mapping):
            for key in list(value)[:_ITEMS_MAX]:
                yield clipped(str(key), WORDS_CHARS_MAX), Payload({"it": value[key]}).words("it")

    def __bool__(self) -> bool:
        return bool(self.value)


def clipped(words: str, chars_max: int) -> str:
    """With a sign that there was more."""
    return words if len(words) <= chars_max else words[: chars_max - 1] + "…"


def first_line(words: str) -> str:
    """What a commit or a comment begins with."""
    return next((line.strip() for line in words.splitlines() if line.strip()), "")
