"""Which headers a file goes out with: decided by its type alone, however that is written."""

from __future__ import annotations

import pytest

from homeserver.media.headers import DEFAULT_TYPE, clean_type, headers_for


@pytest.mark.parametrize(
    ("content_type", "shown"),
    [
        ("image/png", True),
        ("IMAGE/PNG", True),
        (" Image/Png ; charset=binary", True),
        ("text/html", False),
        ("TEXT/HTML", False),
        (" text/HTML;charset=utf-8", False),
        ("image/svg+xml", False),
        ("Image/SVG+XML", False),
        ("application/xhtml+xml ; a=b", False),
        ("image/png, text/html", False),
        ("", False),
    ],
)
def test_the_essence_decides_whatever_its_case(content_type: str, shown: bool) -> None:
    """T-K10: what runs scripts is never shown in place."""
    disposition = headers_for(content_type, None)["Content-Disposition"]
    assert disposition == ("inline" if shown else "attachment")


@pytest.mark.parametrize("name", ['a"b', "a\r\nSet-Cookie: x", "ä;b", "../x", "a" * 300])
def test_a_name_stays_in_its_header(name: str) -> None:
    """T-J13: no character of a name ends the header or begins another."""
    disposition = headers_for("image/png", name)["Content-Disposition"]
    assert disposition.isascii() and not set('\r\n"') & set(disposition)
    assert disposition.count(";") == 1


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("text/plain; charset=utf-8", "text/plain; charset=utf-8"),
        ('video/mp4; codecs="avc1.42E01E, mp4a.40.2"', 'video/mp4; codecs="avc1.42E01E, mp4a.40.2"'),
        ("text/plain;,text/html", "text/plain"),
        ("text/plain; charset=utf-8, text/html", "text/plain"),
        ('text/plain; a="b", text/html', "text/plain"),
        ('text/plain; a="b, text/html', "text/plain"),
        ("text/plain; a=b;,text/html;", "text/plain; a=b"),
        ("text/plain, text/html", DEFAULT_TYPE),
    ],
)
def test_a_type_is_one_type(said: str, kept: str) -> None:
    """T-K9, T-K10: a comma begins another type for a browser, which takes the last; within quotes it is a letter."""
    assert clean_type(said) == kept and clean_type(kept) == kept
