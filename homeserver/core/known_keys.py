"""Signing keys that anybody can have: out of specifications, test suites and generators that aren't random.

No server of ours starts with one, and no other server is believed by one.
"""

from __future__ import annotations

from functools import cache

from nacl.signing import SigningKey

_PUBLISHED = (
    # The key of the Matrix specification's examples. spec: appendices/#cryptographic-test-vectors
    "6090c103d5e7af6b15a970fd563ed75549e6159719ae5c3c31dee4316fb75c0d",
    # The first keys of RFC 8032, section 7.1.
    "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
    "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
    "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
    "f5e5767cf153319517630f226876b86c8160cc583bc013744c6bf255f5cc0ee5",
    "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
    # Nothing at all, hashed.
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
)
# Public halves alone. CVE-2026-24044: what a deployment tool that wasn't random gave to each server.
_PREDICTABLE = ("97f3bd871315281e8b83edc7a9fd0541066154449070ccdb3cdd42cf69ccde88",)


def is_known_key(verify_key: bytes) -> bool:
    """Whether others have the private half of this public key too. About 20 ms at the first use, which is the start."""
    return verify_key in _known_keys()


@cache
def _known_keys() -> frozenset[bytes]:
    alike = [bytes([value]) * 32 for value in range(256)]
    counting = [bytes((start + step * at) % 256 for at in range(32)) for start in range(256) for step in (1, -1)]
    seeds = [*alike, *counting, *map(bytes.fromhex, _PUBLISHED)]
    return frozenset([*(bytes(SigningKey(seed).verify_key) for seed in seeds), *map(bytes.fromhex, _PREDICTABLE)])
