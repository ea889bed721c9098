"""Whose invites a user takes, by the account data."""

from __future__ import annotations

from typing import Any

import pytest

from homeserver.core.invite_permission import KIND, PATTERNS_MAX, UNSTABLE_KIND, InvitePermissions, InviteVerdict

TAKE, IGNORE, BLOCK = InviteVerdict.TAKE, InviteVerdict.IGNORE, InviteVerdict.BLOCK
LISTS = {
    "allowed_users": ["@friend:evil.test", "@boss:*"],
    "ignored_users": ["@nosy*:*"],
    "blocked_users": ["@spam?:*", "@boss:evil.test"],
    "allowed_servers": ["good.test"],
    "ignored_servers": ["dull.test"],
    "blocked_servers": ["*.evil.test", "evil.test", "good.test"],
}


@pytest.mark.parametrize(
    ("inviter", "expected"),
    [
        ("@friend:evil.test", TAKE),  # users before servers
        ("@other:evil.test", BLOCK),
        ("@other:sub.evil.test", BLOCK),
        ("@other:notevil.test", TAKE),
        ("@boss:evil.test", TAKE),  # taking before blocking
        ("@nosy1:good.test", IGNORE),
        ("@spam1:good.test", BLOCK),
        ("@spam12:good.test", TAKE),
        ("@SPAM1:good.test", BLOCK),
        ("@a:good.test", TAKE),
        ("@a:dull.test", IGNORE),
        ("@a:elsewhere.test", TAKE),
    ],
)
@pytest.mark.parametrize("kind", [KIND, UNSTABLE_KIND])
def test_lists(kind: str, inviter: str, expected: InviteVerdict) -> None:
    """T-E22."""
    assert InvitePermissions({kind: LISTS}).verdict(inviter) is expected


def test_all_but_some() -> None:
    permissions = InvitePermissions({KIND: {"default_action": "block", "allowed_servers": ["good.test"]}})
    assert permissions.verdict("@a:good.test") is TAKE and permissions.verdict("@a:other.test") is BLOCK
    assert InvitePermissions({KIND: {"default_action": "allow"}}).is_plain


def test_switched_off() -> None:
    contents = {UNSTABLE_KIND: {"enabled": False, "blocked_users": ["*"]}}
    assert InvitePermissions(contents).is_plain


@pytest.mark.parametrize(
    "content",
    [
        {"blocked_users": "*"},
        {"blocked_users": [1, None, {}, "", "x" * 256]},
        {"blocked_servers": {"*": True}},
        {"default_action": ["block"]},
    ],
)
def test_what_is_malformed_counts_as_not_there(content: dict[str, Any]) -> None:
    assert InvitePermissions({KIND: content}).verdict("@a:b.test") is TAKE


def test_so_many_and_no_more() -> None:
    content = {"blocked_users": [f"@a{number}:b.test" for number in range(PATTERNS_MAX + 1)]}
    permissions = InvitePermissions({KIND: content})
    assert permissions.verdict(f"@a{PATTERNS_MAX - 1}:b.test") is BLOCK
    assert permissions.verdict(f"@a{PATTERNS_MAX}:b.test") is TAKE
