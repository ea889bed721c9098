"""Sessions of the console: a password, then a code of the second factor. Apart from all other sessions.

Invariant: a cookie's value is new at each step, only its digest is kept, and what ends the account's rights (another
password, a lock, the loss of the admin flag) ends the session at its next request.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pyotp

from admin.audit import AuditEntry, AuditLog, entry_of
from admin.storage import console_sessions
from homeserver.accounts.login import Login
from homeserver.accounts.oauth.grants import digest_of
from homeserver.accounts.users import Users
from homeserver.core.errors import Forbidden, NotFound
from homeserver.core.identifiers import UserId
from homeserver.core.operators import UNBOUND, Bounds, Permission, Role
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.database import Database
from homeserver.web.endpoint import Operator
from homeserver.web.rate_limits import RateLimiter

IDLE_S = 30 * 60
LIFETIME_S = 12 * 3_600
SESSIONS_PER_USER_MAX = 10
COOKIE_CHARS_MAX = 128
_SEEN_EVERY_MS = 60_000
_SECRET_BYTES = 20  # RFC 4226 section 4 recommends 160 bits
_CODE_S = 30
# A code of the step before or after counts as well: clocks differ, and people type slowly.
_STEPS_AWRY = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """Somebody with a valid cookie. Without `is_full` they only gave their password so far."""

    user_id: UserId
    role: Role | None
    is_full: bool
    bounds: Bounds = UNBOUND


@dataclass(frozen=True, slots=True)
class ConsoleDoor:
    """What proves who somebody is."""

    login: Login
    users: Users
    limiter: RateLimiter


class ConsoleSessions:
    """Opens, finds and ends them."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness, door: ConsoleDoor, audit: AuditLog) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        self._door = door
        self._audit = audit

    def visitor(self) -> str:
        """The cookie of somebody who isn't logged in: only for the forms' own codes."""
        return f"v{self._randomness.token(24)}"

    async def begin(self, name: str, password: str, address: str) -> str:
        """The cookie of a session that still wants its second factor. Raises Forbidden, LimitExceeded.

        Who may not come in at all is told only after the password was right.
        """
        user_id = await self._door.login.prove({"type": "m.id.user", "user": name}, password, address=address)
        return await self._open(user_id, address, is_full=False)

    async def find(self, cookie: str | None) -> Session | None:
        """Whose session it is; using it keeps it from falling asleep."""
        if cookie is None or not cookie.startswith("c") or len(cookie) > COOKIE_CHARS_MAX:
            return None
        digest, now = digest_of(cookie), self._clock.now_ms()
        opened_after, seen_after = now - LIFETIME_S * 1000, now - IDLE_S * 1000
        row = await console_sessions.find(self._db, digest, opened_after_ms=opened_after, seen_after_ms=seen_after)
        if row is None:
            return None
        if now - row.seen_ts > _SEEN_EVERY_MS:
            async with self._db.transaction() as tx:
                await console_sessions.seen(tx, digest, now)
        return Session(user_id=row.user_id, role=row.role, is_full=row.is_full, bounds=row.bounds)

    async def secret_to_enrol(self, user_id: UserId) -> str | None:
        """The secret that an authenticator app is to be given; None where one was confirmed before."""
        known = await console_sessions.factor(self._db, user_id)
        if known is None:
            secret = base64.b32encode(self._randomness.bytes(_SECRET_BYTES)).decode()
            async with self._db.transaction() as tx:
                await console_sessions.propose_factor(tx, user_id, secret)
            known = await console_sessions.factor(self._db, user_id)
        return None if known is None or known.is_confirmed else known.secret

    async def finish(self, cookie: str, session: Session, code: str, address: str) -> str:
        """The cookie of the full session, in the place of the half one. Raises Forbidden, LimitExceeded."""
        await self.check_code(session.user_id, code)
        full = await self._open(session.user_id, address, is_full=True)
        await self.end(cookie)
        return full

    async def check_code(self, user_id: UserId, code: str) -> None:
        """Takes a code of the second factor; it never counts again. Raises Forbidden, LimitExceeded."""
        self._door.limiter.check("console_code", user_id)
        known = await console_sessions.factor(self._db, user_id)
        step = self._step_of(known.secret, code) if known is not None else None
        if known is None or step is None:
            raise Forbidden("this code is not right")
        async with self._db.transaction() as tx:
            if not await console_sessions.take_code(tx, user_id, known.secret, step):
                raise Forbidden("this code was used before: wait for the next one")
        self._door.limiter.forget("console_code", user_id)

    async def check_password(self, user_id: UserId, password: str) -> None:
        """Before what can't be undone. Raises Forbidden, LimitExceeded."""
        self._door.limiter.check("authentication_failed", user_id)
        if not await self._door.users.is_password(user_id, password):
            raise Forbidden("the password is wrong")
        self._door.limiter.forget("authentication_failed", user_id)

    async def forget_factor(self, user_id: UserId, *, by: Operator, reason: str) -> None:
        """Ends an operator's sessions, and has them set up another second factor. Raises Forbidden, NotFound."""
        by.check(Permission.CHANGE_OPERATORS)
        async with self._db.transaction() as tx:
            if not await console_sessions.forget_factor(tx, user_id):
                raise NotFound("this account has no second factor")
            await self._audit.record(tx, entry_of(by, "console.forget_factor", user_id, reason=reason))

    async def end(self, cookie: str) -> None:
        async with self._db.transaction() as tx:
            await console_sessions.delete(tx, digest_of(cookie))

    async def _open(self, user_id: UserId, address: str, *, is_full: bool) -> str:
        cookie, now = f"c{self._randomness.token(32)}", self._clock.now_ms()
        async with self._db.transaction() as tx:
            await console_sessions.trim(tx, user_id, now - LIFETIME_S * 1000, SESSIONS_PER_USER_MAX - 1)
            await console_sessions.insert(tx, digest_of(cookie), user_id, now, address, is_full=is_full)
            if is_full:
                entry = AuditEntry(actor=user_id, action="console.log_in", target=user_id, address=address)
                await self._audit.record(tx, entry)
        return cookie

    def _step_of(self, secret: str, code: str) -> int | None:
        """Which time step's code it is."""
        typed = code.strip().replace(" ", "")
        if len(typed) != 6 or not typed.isascii() or not typed.isdigit():
            return None
        now_s = self._clock.now_ms() // 1000
        totp = pyotp.TOTP(secret, interval=_CODE_S)
        steps = (now_s // _CODE_S + awry for awry in range(-_STEPS_AWRY, _STEPS_AWRY + 1))
        return next((step for step in steps if pyotp.utils.strings_equal(totp.generate_otp(step), typed)), None)
