"""What of an event is found by searching. Never anything that is encrypted."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from homeserver.core.events import Event
from homeserver.core.folding import TEXT_CHARS_MAX
from homeserver.core.relations import REPLACE, THREAD, relation_of
from homeserver.core.said import without_quote
from homeserver.storage.events import StoredEvent
from search.analyser import analyse, words_of
from search.tiers import Document

BODY, NAME, TOPIC = "content.body", "content.name", "content.topic"
# Type → the key of a search that finds it.
KEYS = {
    "m.room.message": BODY,
    "m.sticker": BODY,
    "m.poll.start": BODY,
    "org.matrix.msc3381.poll.start": BODY,
    "m.room.name": NAME,
    "m.room.topic": TOPIC,
}
LINKS_MAX = 50
MENTIONS_MAX = 50
ANSWERS_MAX = 50
TOPIC_FORMS_MAX = 20

_FILES = {"m.file": "file", "m.image": "image", "m.video": "video", "m.audio": "audio"}
_POLLS = ("m.poll", "m.poll.start", "org.matrix.msc3381.poll.start")
_LINK = re.compile(r"https?://(?:[^\s/?#@<>\"]{0,100}@)?([^\s/?#:<>\"'()\[\]]{1,255})", re.IGNORECASE)
_PILL = re.compile(r"https://matrix\.to/#/((?:@|%40)[^\s\"'<>?]{1,255})", re.IGNORECASE)
_BREAKS = re.compile(r"<(?:br|/?p|/?div|/?li|/?h[1-6]|/?t[rdh]|/?blockquote|/?pre)\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"<[^<>]*>")


def key_of(event: Event) -> str | None:
    """The key that a search names, of events that can be found."""
    key = KEYS.get(event.type)
    return key if key is not None and event.is_state == (key != BODY) else None


def is_edit(event: Event) -> bool:
    """Whether it changes what another says: it isn't found itself."""
    relation = relation_of(event)
    return relation is not None and relation.rel_type == REPLACE


def documents_of(
    one: StoredEvent, edits: Sequence[StoredEvent], *, version: int, received_ms: int, slots: int
) -> list[Document]:
    """What an event says now, and what it said before each of its edits, of which the newest comes first.

    Who may not read the newest edits finds what the client shows them: the newest text that they may read.
    """
    found: list[Document] = []
    later: list[int] = []
    for slot, edit in enumerate([*edits, None]):
        document = document_of(one, edit, version=version, received_ms=received_ms)
        if document is not None:
            found.append(replace(document, later=tuple(later), slot=slot, slots=slots) if slots or later else document)
        if edit is not None and edit.ordering is not None:
            later.append(edit.ordering)
    return found


def document_of(one: StoredEvent, edit: StoredEvent | None, *, version: int, received_ms: int) -> Document | None:
    """An event as its latest edit says it; None where it says nothing that can be found."""
    event, key = one.event, key_of(one.event)
    content: Any = event.content if edit is None else edit.event.content.get("m.new_content")
    if key is None or one.ordering is None or not isinstance(content, dict):
        return None
    text = searched_text(one, edit)
    kinds, hosts = kinds_in(event.type, content, text) if key == BODY else (frozenset[str](), [])
    if not text.strip() and not kinds:
        return None
    analysed, relation = analyse(text), relation_of(event)
    return Document(
        event_nid=one.nid,
        room_nid=one.room_nid,
        place=one.ordering,
        source_nid=edit.nid if edit is not None else one.nid,
        version=version,
        received_ms=received_ms,
        origin_server_ts=event.origin_server_ts,
        event_id=event.event_id,
        room_id=event.room_id,
        sender=event.sender,
        type=event.type,
        key=key,
        source_place=edit.ordering if edit is not None else None,
        tokens=analysed.tokens,
        extras=analysed.extras,
        has=kinds,
        hosts=hosts,
        mentions=mentions_in(content),
        thread_root=relation.event_id if relation is not None and relation.rel_type == THREAD else None,
    )


def searched_text(one: StoredEvent, edit: StoredEvent | None) -> str:
    """The text that a document is analysed from."""
    key = key_of(one.event)
    content: Any = one.event.content if edit is None else edit.event.content.get("m.new_content")
    if key is None or not isinstance(content, dict):
        return ""
    return text_in(content, key, is_quoting=is_reply(one.event.content))[:TEXT_CHARS_MAX]


def text_in(content: Mapping[str, Any], key: str, *, is_quoting: bool = False) -> str:
    """The words of a content: body (and its formatted form without tags, if that says more), file name, a poll's
    question and answers."""
    if key == TOPIC:
        return "\n".join(_topic_texts(content))
    if key != BODY:
        return _string(content.get(key.removeprefix("content.")))
    body = _string(content.get("body"))
    if is_quoting:
        body = without_quote(body)
    if formatted := _string(content.get("formatted_body")):
        body = _with_formatted(body, _without_tags(formatted))
    file_name = _string(content.get("filename"))
    parts = [body, file_name if file_name != body else "", *_poll_texts(content)]
    return "\n".join(part for part in parts if part)


def _with_formatted(body: str, formatted: str) -> str:
    """A body with the text of its formatted form behind it, where that has a word that it lacks."""
    if not body.strip():
        return formatted
    said = set(words_of(body))
    return body if all(word in said for word in words_of(formatted)) else f"{body}\n{formatted}"


def _string(value: object) -> str:
    return value if isinstance(value, str) else ""


def is_reply(content: Mapping[str, Any]) -> bool:
    """Whether its text may begin with a quotation of another's."""
    relates_to = content.get("m.relates_to")
    return isinstance(relates_to, dict) and "m.in_reply_to" in relates_to


def _without_tags(formatted: str) -> str:
    begin, end = formatted.find("<mx-reply>"), formatted.find("</mx-reply>")
    if 0 <= begin < end:
        formatted = formatted[:begin] + formatted[end + len("</mx-reply>") :]
    return html.unescape(_TAG.sub("", _BREAKS.sub(" ", formatted)))


def _topic_texts(content: Mapping[str, Any]) -> Iterator[str]:
    """A topic, and where it has a plain form that says something else, that. spec: client-server-api/#mroomtopic"""
    topic, block = _string(content.get("topic")), content.get("m.topic")
    yield topic
    texts = block.get("m.text") if isinstance(block, dict) else None
    for one in texts[:TOPIC_FORMS_MAX] if isinstance(texts, list) else []:
        if isinstance(one, dict) and one.get("mimetype", "text/plain") == "text/plain":
            if (plain := _string(one.get("body"))) != topic:
                yield plain
            return


def _poll_texts(content: Mapping[str, Any]) -> Iterator[str]:
    for key in _POLLS:
        poll = content.get(key)
        if isinstance(poll, dict):
            yield _extensible(poll.get("question"))
            answers = poll.get("answers")
            for answer in answers[:ANSWERS_MAX] if isinstance(answers, list) else []:
                yield _extensible(answer)
            return


def _extensible(value: object) -> str:
    """The text of an extensible event's part, as the specification and the clients before it write it."""
    if not isinstance(value, dict):
        return ""
    texts = value.get("m.text")
    if isinstance(texts, list):
        texts = next((one.get("body") for one in texts if isinstance(one, dict) and "body" in one), "")
    return _string(texts) or _string(value.get("org.matrix.msc1767.text")) or _string(value.get("body"))


def kinds_in(event_type: str, content: Mapping[str, Any], text: str) -> tuple[frozenset[str], list[str]]:
    """What a message has beside words, and the hosts that it links to."""
    formatted = _string(content.get("formatted_body"))
    kinds = set[str]()
    if isinstance(kind := content.get("msgtype"), str) and kind in _FILES:
        kinds.update(("file", _FILES[kind]))
    if isinstance(content.get("url"), str):
        kinds.add("url")
    if event_type == "m.sticker":
        kinds.add("image")
    if "poll.start" in event_type:
        kinds.add("poll")
    if "```" in text or "<code" in formatted:
        kinds.add("code")
    linked = text if "://" in text else formatted
    hosts: dict[str, None] = {}
    if "://" in linked:
        for match in _LINK.finditer(linked):
            if (host := match[1].lower().rstrip(".,;!")) and host != "matrix.to":
                hosts[host] = None
            if len(hosts) == LINKS_MAX:
                break
    if hosts:
        kinds.add("link")
    return frozenset(kinds), list(hosts)


def mentions_in(content: Mapping[str, Any]) -> list[str]:
    """Users that a message names: as it says, or by links to them. spec: client-server-api/#user-and-room-mentions"""
    mentions = content.get("m.mentions")
    found: dict[str, None] = {}
    if isinstance(mentions, dict):
        users = mentions.get("user_ids")
        found.update((user, None) for user in (users if isinstance(users, list) else ()) if isinstance(user, str))
    else:
        pills = _PILL.findall(_string(content.get("formatted_body")))
        found.update((pill.replace("%40", "@").replace("%3A", ":").replace("%3a", ":"), None) for pill in pills)
    return [user for user in list(found)[:MENTIONS_MAX] if len(user) <= 255]
