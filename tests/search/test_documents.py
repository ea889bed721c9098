"""What of an event's content is found."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.events import Event
from homeserver.core.identifiers import EventId
from homeserver.core.room_versions import ROOM_VERSIONS
from homeserver.storage.events import StoredEvent
from search.documents import BODY, document_of, text_in
from search.tiers import Document


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ({"body": "a"}, "a"),
        ({"body": 5}, ""),
        ({"body": " ", "formatted_body": "<p>one<br/>two</p>&amp;<b>th</b>ree"}, " one two &three"),
        (
            {"body": "**big** [docs](https://a.b)", "formatted_body": '<b>big</b> <a href="x">docs</a>'},
            "**big** [docs](https://a.b)",
        ),
        ({"body": "see", "formatted_body": "<mx-reply>old</mx-reply><p>see <i>Anna</i></p>"}, "see\n see Anna "),
        ({"body": "look", "filename": "x.png"}, "look\nx.png"),
        ({"body": "x.png", "filename": "x.png"}, "x.png"),
        ({"body": "> <@a:b> old\n> older\n\nnew"}, "\nnew"),
        ({"body": "> only a quote"}, "> only a quote"),
        ({"formatted_body": "<mx-reply>old</mx-reply>new"}, "new"),
        (
            {"m.poll": {"question": {"m.text": [{"body": "tea?"}]}, "answers": [{"m.text": [{"body": "yes"}]}, 5]}},
            "tea?\nyes",
        ),
        (
            {
                "org.matrix.msc3381.poll.start": {
                    "question": {"org.matrix.msc1767.text": "tea?"},
                    "answers": [{"org.matrix.msc1767.text": "no"}],
                }
            },
            "tea?\nno",
        ),
    ],
)
def test_the_words_of_a_content(content: dict[str, Any], text: str) -> None:
    assert text_in(content, BODY, is_quoting=True) == text


def document(content: dict[str, Any], *, kind: str = "m.room.message") -> Document | None:
    pdu = {
        "type": kind,
        "sender": "@a:b",
        "room_id": "!r:b",
        "content": content,
        "origin_server_ts": 7,
        "depth": 1,
        "prev_events": [],
        "auth_events": [],
    }
    stored = StoredEvent(
        nid=4,
        room_nid=2,
        ordering=4,
        event=Event(ROOM_VERSIONS["11"], pdu, EventId("$e")),
        state_nid=None,
        replaces=None,
        redacted_by=None,
        flags=0,
        device_id=None,
        txn_id=None,
        size_bytes=10,
    )
    return document_of(stored, None, version=5, received_ms=6)


def test_what_a_message_has() -> None:
    found = document(
        {
            "msgtype": "m.image",
            "body": "see http://User@Example.ORG:80/x and https://matrix.to/#/!r:b ```x```",
            "m.mentions": {"user_ids": ["@bob:b", 5]},
            "m.relates_to": {"rel_type": "m.thread", "event_id": "$root"},
        }
    )
    assert found is not None
    assert found.has == {"file", "image", "link", "code"} and found.hosts == ["example.org"]
    assert (found.mentions, found.thread_root, found.version, found.received_ms) == (["@bob:b"], "$root", 5, 6)
    pilled = document({"body": "bob", "formatted_body": '<a href="https://matrix.to/#/%40bob%3Ab">bob</a>'})
    assert pilled is not None and pilled.mentions == ["@bob:b"] and not pilled.has


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        ({}, "m.room.message"),
        ({"body": "\x00 "}, "m.reaction"),
        ({"body": "secret", "ciphertext": "secret"}, "m.room.encrypted"),
        ({"name": "no state event"}, "m.room.name"),
    ],
)
def test_what_is_no_document(content: dict[str, Any], kind: str) -> None:
    """T-G12"""
    assert document(content, kind=kind) is None


@pytest.mark.parametrize("junk", ["<" * 65_000, "http://" * 9_000, "https://matrix.to/#/@" * 3_000, "> " * 30_000])
def test_hostile_content_is_bounded(junk: str) -> None:
    """T-G13"""
    found = document({"body": junk, "formatted_body": junk, "m.poll": {"answers": [junk]}})
    assert found is None or (len(found.hosts) <= 50 and len(found.mentions) <= 50)
