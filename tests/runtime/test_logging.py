"""Log lines: what may never be in one, and that nothing breaks out of one."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from homeserver.config import Secret
from homeserver.runtime.logging import bind_request, clean_text, configure_logging

CANARY = "canary-7f3a9"


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def written(format: Literal["json", "console"], *events: dict[str, Any]) -> str:
    stream = io.StringIO()
    configure_logging(format=format, level="debug", stream=stream)
    for event in events:
        structlog.get_logger().info("something_happened", **event)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "fields",
    [
        {"access_token": CANARY},
        {"password": CANARY},
        {"Authorization": CANARY},
        {"content": {"body": CANARY}},
        {"event": {"type": "m.room.message", "content": {"body": CANARY}}}["event"],
        {"request": {"headers": {"authorization": f"Bearer {CANARY}"}}},
        {"url": f"/_matrix/client/v3/sync?access_token={CANARY}&since=1"},
        {"header": f"Bearer {CANARY}"},
        {"text": f'{{"password": "{CANARY}"}}'},
        {"text": f"dsn is postgresql://hansa:{CANARY}@host/name"},
        {"config": Secret(CANARY)},
        {"raw": CANARY.encode()},
        {"values": [{"refresh_token": CANARY}]},
    ],
)
def test_no_secret_and_no_message_is_written(format: Literal["json", "console"], fields: dict[str, Any]) -> None:
    """T-O10: a canary put where secrets and messages are never comes out."""
    text = written(format, fields)
    assert "something_happened" in text
    assert CANARY not in text


@pytest.mark.parametrize("format", ["json", "console"])
@pytest.mark.parametrize(
    "value", ["a\r\nINFO forged", "\x1b[2Jgone", "x\u2028y", "\u202eevil", "\ud800", '"}{"', "\x00"]
)
def test_nothing_breaks_out_of_its_line(format: Literal["json", "console"], value: str) -> None:
    """T-O9, T-J13: line ends, terminal sequences and JSON in a value stay in the value."""
    text = written(format, {"name": value, value: 1})
    assert text.count("\n") == 1
    assert not set(text.rstrip("\n")) & set("\r\x1b\x00\u2028\u202e\ud800")
    if format == "json":
        assert json.loads(text)["event"] == "something_happened"


@given(st.text(alphabet=st.characters(exclude_categories=())), st.integers(50, 300))
def test_cleaned_text_is_one_short_line(text: str, length: int) -> None:
    """T-O9: any text becomes one printable line of bounded length."""
    cleaned = clean_text(text, length)
    assert len(cleaned) <= length + 1
    assert len(cleaned.splitlines()) <= 1
    cleaned.encode()


def test_long_and_deep_values_are_cut() -> None:
    """T-O9: one line has a bounded length whatever is logged."""
    deep: Any = "x"
    for _ in range(500):
        deep = {"a": deep}
    text = written("json", {"long": "y" * 1_000_000, "many": list(range(100_000)), "deep": deep})
    assert len(text) < 20_000


def test_an_exception_keeps_its_lines_but_not_its_secrets() -> None:
    """T-O10: tracebacks pass the same filter."""
    stream = io.StringIO()
    configure_logging(format="json", stream=stream)
    try:
        raise ValueError(f"password={CANARY} \x1b[1m")
    except ValueError:
        structlog.get_logger().exception("request_failed")
    line = json.loads(stream.getvalue())
    assert "ValueError" in line["exception"] and "\n" in line["exception"]
    assert CANARY not in stream.getvalue() and "\x1b" not in line["exception"]


def test_lines_of_libraries_go_the_same_way() -> None:
    """T-O10: what a library logs is filtered as well, and below warnings it is silent."""
    stream = io.StringIO()
    configure_logging(format="json", level="debug", stream=stream)
    logging.getLogger("aiohttp.server").warning("GET /?access_token=%s", CANARY)
    logging.getLogger("asyncpg").debug("SELECT %s", CANARY)
    line = json.loads(stream.getvalue())
    assert line["logger"] == "aiohttp.server" and CANARY not in stream.getvalue()


def test_lines_of_one_request_share_its_id() -> None:
    stream = io.StringIO()
    configure_logging(format="json", stream=stream)
    bind_request("r1")
    structlog.get_logger().info("one")
    bind_request("r2")
    structlog.get_logger().info("two")
    assert [json.loads(line)["request_id"] for line in stream.getvalue().splitlines()] == ["r1", "r2"]
