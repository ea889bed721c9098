"""Meeting points of two devices that don't know each other yet: for signing in by a QR code (MSC4108, MSC4388).

A few kilobytes that whoever knows the address may read and replace, for two minutes; what the devices say is encrypted
between them. In memory: they are no more after a restart, and people scan again.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from homeserver.core.errors import MatrixError, NotFound, TooLarge
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness

PAYLOAD_BYTES_MAX = 4_096
# Long enough for a second factor on the way; MSC4388 wants 120 to 300 seconds.
LIFETIME_MS = 120_000
# When there are more at once, the oldest goes.
SESSIONS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """What was said last, its version, and until when: as the wall's clock says, and as one that nobody sets says."""

    session_id: str
    payload: bytes
    etag: str
    changed_ms: int
    ends_ms: int
    ends_s: float


class Rendezvous:
    """Keeps what devices leave for each other."""

    def __init__(self, clock: Clock, randomness: Randomness) -> None:
        self._clock = clock
        self._randomness = randomness
        self._sessions: OrderedDict[str, Session] = OrderedDict()  # the oldest first: all live equally long

    def create(self, payload: bytes) -> Session:
        """Raises TooLarge."""
        self._drop_old()
        now = self._clock.now_ms()
        session_id, end_s = self._randomness.token(18), self._clock.monotonic_s() + LIFETIME_MS / 1000
        session = Session(session_id, _checked(payload), self._etag(), now, now + LIFETIME_MS, end_s)
        self._sessions[session.session_id] = session
        if len(self._sessions) > SESSIONS_MAX:
            self._sessions.popitem(last=False)
        return session

    def get(self, session_id: str) -> Session:
        """Raises NotFound."""
        self._drop_old()
        session = self._sessions.get(session_id)
        if session is None:
            raise NotFound("there is no such meeting point: it has ended, or never was")
        return session

    def replace(self, session_id: str, payload: bytes, expected: str | None) -> Session:
        """Says something else, if nobody did since `expected`. Raises NotFound, TooLarge, MatrixError (412)."""
        before = self.get(session_id)
        if before.etag != expected:
            raise MatrixError(
                "somebody else has written meanwhile",
                status=412,
                extra={"org.matrix.msc4108.errcode": "M_CONCURRENT_WRITE"},
            )
        now = self._clock.now_ms()
        session = Session(session_id, _checked(payload), self._etag(), now, before.ends_ms, before.ends_s)
        self._sessions[session_id] = session
        return session

    def delete(self, session_id: str) -> None:
        """Raises NotFound."""
        self.get(session_id)
        del self._sessions[session_id]

    def left_ms(self, session: Session) -> int:
        """How long this one is still to be found, in milliseconds."""
        return max(0, round((session.ends_s - self._clock.monotonic_s()) * 1000))

    def _etag(self) -> str:
        return f'"{self._randomness.token(9)}"'

    def _drop_old(self) -> None:
        now = self._clock.monotonic_s()
        while self._sessions and next(iter(self._sessions.values())).ends_s <= now:
            self._sessions.popitem(last=False)


def _checked(payload: bytes) -> bytes:
    if len(payload) > PAYLOAD_BYTES_MAX:
        raise TooLarge(f"a payload may have {PAYLOAD_BYTES_MAX} bytes")
    return payload
