"""People who are signed in with a browser on our own pages: by a cookie, apart from all Matrix sessions."""

from __future__ import annotations

from homeserver.accounts.oauth.grants import digest_of
from homeserver.accounts.short_lived import ShortLived
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import browser_sessions
from homeserver.storage.database import Database

LIFETIME_S = 14 * 24 * 3_600
SESSIONS_PER_USER_MAX = 50
COOKIE_CHARS_MAX = 128
RESET_ALLOWED_S = 600.0
RESETS_MAX = 10_000
FRESH_S = 600.0


class BrowserSessions:
    """Opens and ends them. A cookie's value is new with each sign-in, so that none can be planted before."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness

    def visitor(self) -> str:
        """The cookie of somebody who isn't signed in: only for the forms' own codes."""
        return f"v{self._randomness.token(24)}"

    async def open(self, user_id: UserId, upstream: int | None = None) -> str:
        """A cookie's value; `upstream` is the sign-in elsewhere that somebody comes by."""
        cookie, now = f"s{self._randomness.token(32)}", self._clock.now_ms()
        async with self._db.transaction() as tx:
            await browser_sessions.trim(tx, user_id, now, SESSIONS_PER_USER_MAX - 1)
            await browser_sessions.insert(tx, digest_of(cookie), user_id, now + LIFETIME_S * 1000, upstream)
        return cookie

    async def user(self, cookie: str | None) -> tuple[UserId, int | None] | None:
        """Who is signed in, and by which sign-in elsewhere, if it was one."""
        if cookie is None or not cookie.startswith("s") or len(cookie) > COOKIE_CHARS_MAX:
            return None
        return await browser_sessions.user(self._db, digest_of(cookie), self._clock.now_ms())

    async def is_fresh(self, cookie: str) -> bool:
        """Whether somebody has signed in by this cookie a short time ago."""
        opened_after = self._clock.now_ms() - round(FRESH_S * 1000)
        return await browser_sessions.user(self._db, digest_of(cookie), opened_after + LIFETIME_S * 1000) is not None

    async def close(self, cookie: str) -> None:
        async with self._db.transaction() as tx:
            await browser_sessions.delete(tx, digest_of(cookie))

    async def close_others(self, user_id: UserId, cookie: str) -> None:
        """As after a change of password."""
        async with self._db.transaction() as tx:
            await browser_sessions.delete_others(tx, user_id, digest_of(cookie))

    async def close_all(self, user_id: UserId) -> bool:
        """The account has ended."""
        async with self._db.transaction() as tx:
            await browser_sessions.delete_others(tx, user_id, b"")
        return True


class CrossSigningResets:
    """Who has allowed, on our pages, that their cross-signing keys are replaced: once, within ten minutes."""

    def __init__(self, clock: Clock) -> None:
        self._allowed = ShortLived[bool](clock, lifetime_s=RESET_ALLOWED_S, most=RESETS_MAX)

    def allow(self, user_id: UserId) -> None:
        self._allowed.put(user_id, True)

    def take(self, user_id: UserId) -> bool:
        """Whether it was allowed; it is used up with that."""
        return bool(self._allowed.take(user_id))
