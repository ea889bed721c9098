"""E-mail addresses: one form, and nothing but an address."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.core.email_address import parse_email_address
from homeserver.core.errors import InvalidParam


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("Alice@Example.ORG", "alice@example.org"),
        (" bob.b+tag@mail.example.org ", "bob.b+tag@mail.example.org"),
        ("x@bücher.example", "x@xn--bcher-kva.example"),
        ("strauß@example.org", "strauss@example.org"),
    ],
)
def test_one_form(text: str, address: str) -> None:
    assert parse_email_address(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "", "a", "@", "a@b", "a@evil.org@good.org", "a@evil.org,b@good.org", "a b@good.org", '"a"@good.org',
        "a@good.org\nBcc: b@evil.org", "a\x00@good.org", "a@good..org", "a@-good.org", "<a@good.org>", "a@[127.0.0.1]",
        ".a@good.org", "a..b@good.org", "a@" + "x" * 300 + ".org", "\ud800@good.org", "a@good.org.", "(c)a@good.org",
    ],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """T-N2, T-J13: what one parser reads in another way than the next; headers hidden in an address."""
    with pytest.raises(InvalidParam):
        parse_email_address(text)


@given(st.text(max_size=300))
def test_what_passes_is_plain(text: str) -> None:
    """T-N1: whatever passes is bounded, has one @ and can be written to as it is."""
    try:
        address = parse_email_address(text)
    except InvalidParam:
        return
    assert len(address) <= 400 and address.count("@") == 1 and address.isprintable()
    assert parse_email_address(address) == address
