"""SQL text to tokens."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""(?P<space>\s+|--[^\n]*)
      | (?P<string>'(?:[^']|'')*')
      | (?P<dollar>\$\$.*?\$\$)
      | (?P<param>\$\d+)
      | (?P<quoted>"[^"]+")
      | (?P<number>\d+(?:\.\d+)?)
      | (?P<word>[A-Za-z_][A-Za-z_0-9]*)
      | (?P<sign>::|<>|!=|<=|>=|\|\||&&|@>|<@|[-+*/%<>=(),.;\[\]:&|])""",
    re.VERBOSE | re.DOTALL,
)


class NotUnderstood(AssertionError):
    """A statement that the twin has no meaning for: the text says which, and where it stopped."""


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is string, param, number, word, quoted, sign or end. Words are in lower case, as PostgreSQL reads them."""

    kind: str
    text: str


def tokens_of(sql: str) -> list[Token]:
    """Raises NotUnderstood."""
    found, at = [], 0
    while at < len(sql):
        match = _TOKEN.match(sql, at)
        if match is None:
            raise NotUnderstood(f"what is {sql[at : at + 20]!r} in: {sql}")
        at = match.end()
        kind = match.lastgroup or ""
        text = match[0]
        if kind == "space":
            continue
        if kind == "word":
            text = text.lower()
        elif kind == "string":
            text = text[1:-1].replace("''", "'")
        elif kind == "quoted":
            kind, text = "word", text[1:-1]
        found.append(Token(kind, text))
    found.append(Token("end", ""))
    return found
