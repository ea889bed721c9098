"""The errors of the protocol: each type says who is wrong, and so who hears of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar


class MatrixError(Exception):
    """The caller's fault: answered with the spec's error body and logged at info.

    `errcode` and `status` are the class's defaults; an instance may override both for the rarer codes.
    `extra` is merged into the JSON answer (`retry_after_ms`, `soft_logout`, `room_version`...).
    """

    errcode: ClassVar[str] = "M_UNKNOWN"
    status: ClassVar[int] = 400

    def __init__(
        self,
        message: str,
        *,
        errcode: str | None = None,
        status: int | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = errcode or self.errcode
        self.http_status = status or self.status
        self.extra = dict(extra or {})

    def body(self) -> dict[str, Any]:
        """The JSON object that the spec's standard error response holds."""
        return {"errcode": self.code, "error": self.message, **self.extra}


class Forbidden(MatrixError):
    errcode, status = "M_FORBIDDEN", 403


class NotFound(MatrixError):
    errcode, status = "M_NOT_FOUND", 404


class Unrecognized(MatrixError):
    errcode, status = "M_UNRECOGNIZED", 404


class MissingToken(MatrixError):
    errcode, status = "M_MISSING_TOKEN", 401


class UnknownToken(MatrixError):
    errcode, status = "M_UNKNOWN_TOKEN", 401


class BadJson(MatrixError):
    errcode, status = "M_BAD_JSON", 400


class NotJson(MatrixError):
    errcode, status = "M_NOT_JSON", 400


class InvalidParam(MatrixError):
    errcode, status = "M_INVALID_PARAM", 400


class MissingParam(MatrixError):
    errcode, status = "M_MISSING_PARAM", 400


class TooLarge(MatrixError):
    errcode, status = "M_TOO_LARGE", 413


class RemoteTooLarge(MatrixError):
    """What another server keeps is too large for this one. spec: client-server-api/#content-repository"""

    errcode, status = "M_TOO_LARGE", 502


class LimitExceeded(MatrixError):
    errcode, status = "M_LIMIT_EXCEEDED", 429

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(message, extra={"retry_after_ms": retry_after_ms})
        self.retry_after_ms = retry_after_ms


class UserInUse(MatrixError):
    errcode, status = "M_USER_IN_USE", 400


class InvalidUsername(MatrixError):
    errcode, status = "M_INVALID_USERNAME", 400


class RoomInUse(MatrixError):
    errcode, status = "M_ROOM_IN_USE", 400


class UnsupportedRoomVersion(MatrixError):
    errcode, status = "M_UNSUPPORTED_ROOM_VERSION", 400


class Unavailable(MatrixError):
    """Our database or disk can't take the request now; the caller may try again."""

    errcode, status = "M_UNKNOWN", 503


class InvalidEvent(Exception):
    """A PDU whose form the spec forbids (format, sizes, grammar, numbers): it is not an event at all."""


class RuleBroken(Exception):
    """An event that the authorisation rules refuse. `rule` is the number in the room version's list."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{reason} (rule {rule})")
        self.rule = rule
        self.reason = reason


class BadStateKey(RuleBroken):
    """A state key that begins as a user id does and is none: no sender makes it right."""


class MissingEvents(Exception):
    """A pure function wants events that it wasn't given: load these ids and call it again."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = frozenset(ids)
        super().__init__(f"{len(self.ids)} events are missing")


class RemoteFault(Exception):
    """A peer's fault: counted and backed off; our user never sees a 500 for it."""
