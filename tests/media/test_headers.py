"""Which headers a file goes out with: decided by its type alone, however that is written."""

from __future__ import annotations

import pytest

from homeserver.media.headers import headers_for


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
    """No character of a name ends the header or begins another."""
    disposition = headers_for("image/png", name)["Content-Disposition"]
    assert disposition.isascii() and not set('\r\n"') & set(disposition)
    assert disposition.count(";") == 1
