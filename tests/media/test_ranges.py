"""Which part of a file a request gets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from homeserver.media.ranges import wanted

TAG = '"t"'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, ("whole", 0, 100)),
        ({"Range": "bytes=0-0"}, ("part", 0, 1)),
        ({"Range": "bytes=10-"}, ("part", 10, 100)),
        ({"Range": "bytes=90-500"}, ("part", 90, 100)),
        ({"Range": "bytes=-10"}, ("part", 90, 100)),
        ({"Range": "bytes=-500"}, ("part", 0, 100)),
        ({"Range": "bytes=100-"}, ("beyond", 0, 0)),
        ({"Range": "bytes=-0"}, ("beyond", 0, 0)),
        ({"Range": "bytes=9-3"}, ("whole", 0, 100)),
        ({"Range": "bytes=0-1,5-6"}, ("whole", 0, 100)),
        ({"Range": "lines=0-1"}, ("whole", 0, 100)),
        ({"Range": "bytes=0-1", "If-Range": TAG}, ("part", 0, 2)),
        ({"Range": "bytes=0-1", "If-Range": '"other"'}, ("whole", 0, 100)),
        ({"If-None-Match": f'"x", W/{TAG}'}, ("unchanged", 0, 0)),
        ({"If-None-Match": "*"}, ("unchanged", 0, 0)),
        ({"If-None-Match": '"x"'}, ("whole", 0, 100)),
    ],
)
def test_ranges(headers: dict[str, str], expected: tuple[str, int, int]) -> None:
    part = wanted(headers, 100, TAG)
    assert (part.kind, part.start, part.end) == expected


@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,20}-[0-9]{0,20}", fullmatch=True), st.integers(0, 10**12))
def test_no_header_leads_outside_of_the_file(header: str, size: int) -> None:
    """T-K13: neither before its start nor past its end."""
    part = wanted({"Range": header}, size, TAG)
    assert 0 <= part.start <= part.end <= size
