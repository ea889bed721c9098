"""Payloads of no product's own: Slack's shape, which many programs can send, and plain JSON. Pure.

Plain JSON is said by a template of the hook's owner, in which `{{ path.of.keys }}` stands for what lies there.
"""

from __future__ import annotations

import re

import orjson

from homeserver.core.errors import InvalidParam
from homeserver.webhooks.messages import AlertState, Message, Payload, Writer, clipped

TEMPLATE_CHARS_MAX = 4_000
_PLACE = re.compile(r"\{\{\s*([\w.-]{1,200})\s*\}\}")
_PLACES_MAX = 100
_VALUE_CHARS_MAX = 2_000
_SHOWN_CHARS_MAX = 4_000
# Slack's own marks: <https://example.org|words>, *bold*, `code`; the rest is text.
_MARKS = re.compile(r"<(?P<url>https?://[^|>\s]+)(?:\|(?P<words>[^>]*))?>|\*(?P<bold>[^*\n]+)\*|`(?P<code>[^`\n]+)`")
_RICH_DEPTH_MAX = 4
_ESCAPES = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


def slack(payload: Payload) -> Message | None:
    """What an incoming webhook of Slack takes: text, blocks and attachments."""
    written, is_empty = Writer(), True
    for words in _slack_parts(payload):
        if not is_empty:
            written.line()
        _slack_words(written, words)
        is_empty = False
    return None if is_empty else written.message()


def _slack_parts(payload: Payload) -> list[str]:
    # Beside blocks the text is for where they can't be shown.
    found = _slack_blocks(payload) or [payload.lines("text", 8_000)]
    for one in payload.items("attachments"):
        blocks = _slack_blocks(one)
        found += [one.lines("pretext", 2_000), _link(one.words("title"), one.words("title_link")) or one.words("title")]
        found.append(one.lines("text", 4_000) or ("" if blocks else one.lines("fallback", 4_000)))
        found += [f"*{field.words('title')}* {field.words('value')}" for field in one.items("fields")]
        found += blocks
        found += [_link(action.words("text"), action.words("url")) for action in one.items("actions")]
        found.append(one.words("footer"))
    return [words for words in found if words.strip()]


def _slack_blocks(payload: Payload) -> list[str]:
    """What the blocks of a message, or of an attachment, say: texts, rich text, and buttons that lead somewhere."""
    found: list[str] = []
    for block in payload.items("blocks"):
        found.append(block.lines("text.text", 4_000))
        found += [one.lines("text", 2_000) for one in block.items("fields")]
        for one in (block.at("accessory"), *block.items("elements")):
            found.append(one.lines("text", 2_000) or _link(one.words("text.text"), one.words("url")) or _rich(one))
    return [words for words in found if words.strip()]


def _rich(element: Payload, depth: int = 0) -> str:
    """Rich text, as nested as Slack's is."""
    if depth > _RICH_DEPTH_MAX:
        return ""
    kind = element.words("type")
    if kind == "link":
        return _link(element.words("text") or element.words("url"), element.words("url"))
    if kind == "rich_text_list":
        return "\n".join("• " + _rich(one, depth + 1) for one in element.items("elements"))
    return element.lines("text", 2_000) + "".join(_rich(one, depth + 1) for one in element.items("elements"))


def _link(words: str, url: str) -> str:
    """In Slack's own marks; empty where there are no words, or the URL is none for the web."""
    return f"<{url}|{words}>" if words and url.startswith(("http://", "https://")) else ""


def _slack_words(written: Writer, words: str) -> None:
    for number, line in enumerate(words.splitlines()):
        if number:
            written.line()
        at = 0
        for mark in _MARKS.finditer(line):
            written.say(_unescaped(line[at : mark.start()]))
            at = mark.end()
            if mark["url"]:
                written.link(_unescaped(mark["words"] or mark["url"]), _unescaped(mark["url"]))
            elif mark["bold"]:
                written.bold(_unescaped(mark["bold"]))
            else:
                written.code(_unescaped(mark["code"]))
        written.say(_unescaped(line[at:]))


def _unescaped(words: str) -> str:
    for escaped, sign in _ESCAPES:
        words = words.replace(escaped, sign)
    return words


def json(payload: Payload, template: str | None) -> Message | None:
    """By the template; without one `text` (or `message`, `body`) is said, under a `title` and with a `url`.

    What has none of these is shown as it came, so that whoever connects a program sees what it sends.

    `group` and `status` (`firing`, `resolved`) make later payloads replace earlier ones.
    """
    group = payload.words("group") or None
    state: AlertState | None = None
    if group is not None:
        state = "resolved" if payload.words("status") == "resolved" else "firing"
    written = Writer()
    if template is not None:
        return _by_template(written, template, payload).message(group, state)
    text = payload.lines("text", 8_000) or payload.lines("message", 8_000) or payload.lines("body", 8_000)
    title, url = payload.words("title"), payload.words("url")
    if not (text or title):
        return _as_it_came(payload).message(group, state) if payload else None
    if title:
        written.link(title, url)
        if text:
            written.line()
    for number, line in enumerate(text.splitlines()):
        if number:
            written.line()
        written.say(line)
    return written.message(group, state)


def _as_it_came(payload: Payload) -> Writer:
    shown = orjson.dumps(payload.value, option=orjson.OPT_INDENT_2).decode()
    return Writer().block(clipped(shown.replace("\\u0000", ""), _SHOWN_CHARS_MAX))


def _by_template(written: Writer, template: str, payload: Payload) -> Writer:
    for number, line in enumerate(template.splitlines()):
        if number:
            written.line()
        at = 0
        for place in _PLACE.finditer(line):
            written.say(line[at : place.start()]).say(payload.words(place[1], _VALUE_CHARS_MAX))
            at = place.end()
        written.say(line[at:])
    return written


def check_template(template: str) -> None:
    """Raises InvalidParam for a template that is too long, or has too many places."""
    if not template.strip() or len(template) > TEMPLATE_CHARS_MAX or "\x00" in template:
        raise InvalidParam(f"a template has 1 to {TEMPLATE_CHARS_MAX} characters")
    if len(_PLACE.findall(template)) > _PLACES_MAX:
        raise InvalidParam(f"a template may have {_PLACES_MAX} places")
