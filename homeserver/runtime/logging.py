"""How log lines are written: one event with fields a line, as JSON or for people.

Invariant: no secret and no message reaches the output, and no value can break out of its line. Known keys are blanked,
what looks like a token or a password inside a text is blanked, control characters are escaped, long values are cut.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any, Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

HIDDEN = "<hidden>"
DEPTH_MAX = 4
ELEMENTS_MAX = 50

# Fields that hold secrets or what people write, by whatever name a caller may pass them.
_HIDDEN_KEYS = frozenset(
    "access_token refresh_token login_token token tokens password new_password secret client_secret shared_secret dsn "
    "mac authorization cookie session_key private_key signing_key recovery_key pickle hs_token as_token macaroon nonce "
    "body content formatted_body unsigned ciphertext plaintext message_body one_time_keys fallback_keys session_data "
    "auth_data signatures".split()
)
# What says that a secret follows, in an URL, a header, JSON or a repr.
_SPOKEN = re.compile(
    r"""((?:access_token|refresh_token|login_token|token|password|secret|shared_secret|mac|hs_token|as_token)
         ["']?\s*[=:]\s*["']?)[^\s"'&,;)}\]]+""",
    re.IGNORECASE | re.VERBOSE,
)
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[^\s\"',;]+", re.IGNORECASE)
_URL_PASSWORD = re.compile(r"(\w{2,20}://[^\s:/@]{0,200}:)[^\s@/]+@")
# Control characters, and those that turn the reading direction or split lines in some viewers.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def clean_text(text: str, chars_max: int) -> str:
    """The text on one line, without what looks like a secret, cut to a length."""
    text = text[: chars_max * 2]
    text = _SPOKEN.sub(rf"\1{HIDDEN}", text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _URL_PASSWORD.sub(rf"\1{HIDDEN}@", text)
    text = _UNPRINTABLE.sub(_escaped, text)
    return text if len(text) <= chars_max else text[:chars_max] + "…"


class Redactor:
    """The last processor before a line is rendered."""

    def __init__(self, chars_max: int = 2000) -> None:
        self._chars_max = chars_max

    def __call__(self, logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
        return {self._key(key): self._field(key, value) for key, value in event.items()}

    def _key(self, key: object) -> str:
        return clean_text(str(key), 100)

    def _field(self, key: object, value: Any) -> Any:
        if str(key).lower() in _HIDDEN_KEYS:
            return HIDDEN
        if key == "exception" and isinstance(value, str):
            # A traceback keeps its lines: the end is what tells, so that is what stays.
            lines = value.splitlines()[-200:]
            return "\n".join(clean_text(line, self._chars_max) for line in lines)
        return self._value(value, 0)

    def _value(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, str):
            return clean_text(value, self._chars_max)
        if depth < DEPTH_MAX and isinstance(value, Mapping):
            pairs = list(value.items())[:ELEMENTS_MAX]
            return {
                self._key(key): HIDDEN if str(key).lower() in _HIDDEN_KEYS else self._value(inner, depth + 1)
                for key, inner in pairs
            }
        if depth < DEPTH_MAX and isinstance(value, Sequence | set | frozenset) and not isinstance(value, bytes):
            return [self._value(element, depth + 1) for element in list(value)[:ELEMENTS_MAX]]
        return f"<{len(value)} bytes>" if isinstance(value, bytes) else clean_text(str(value), self._chars_max)


def _as_json(logger: WrappedLogger, method: str, event: EventDict) -> str:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS).decode()


def _drop_color_message(logger: WrappedLogger, method: str, event: MutableMapping[str, Any]) -> EventDict:
    event.pop("color_message", None)
    return event


def configure_logging(
    *,
    format: Literal["json", "console"] = "json",
    level: str = "info",
    value_chars_max: int = 2000,
    stream: TextIO | None = None,
) -> None:
    """Sends our lines and those of libraries through one chain to `stream` (standard error). Call it once, at start."""
    output = stream or sys.stderr
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending: list[Processor] = [structlog.processors.format_exc_info, Redactor(value_chars_max)]
    colors = format == "console" and output.isatty()
    renderer: Processor = _as_json if format == "json" else structlog.dev.ConsoleRenderer(colors=colors)
    structlog.configure(
        processors=[*shared, *ending, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=output),
        cache_logger_on_first_use=stream is None,
    )
    handler = logging.StreamHandler(output)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _drop_color_message,
                *ending,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # Libraries speak from warnings on: their debug lines show requests and statements.
    root.setLevel(max(threshold, logging.WARNING))


def bind_request(request_id: str) -> None:
    """Adds `request_id` to every line that this task and its children write from now on."""
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(request_id=request_id)


def bound_request() -> str | None:
    """The id that `bind_request` gave to what runs now."""
    bound = structlog.contextvars.get_contextvars().get("request_id")
    return bound if isinstance(bound, str) else None
