"""User-interactive authentication. spec: client-server-api/#user-interactive-authentication-api

A session is bound to the operation and the user that it was begun for; it is used up when the operation goes ahead.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from homeserver.accounts.short_lived import ShortLived
from homeserver.core.errors import Forbidden, LimitExceeded, MatrixError, NotFound
from homeserver.core.identifiers import UserId, localpart_of
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.web.rate_limits import RateLimiter

SESSIONS_MAX = 10_000
PASSWORD, DUMMY, TOKEN, TERMS = "m.login.password", "m.login.dummy", "m.login.registration_token", "m.login.terms"
EMAIL, CAPTCHA = "m.login.email.identity", "m.login.recaptcha"
# Ours: clients that don't know it show its page.
WORK = "org.hansa.login.proof_of_work"
# Done on pages of ours: whoever sends one as a stage has not done it there.
OAUTH = "m.oauth"
SSO = "m.login.sso"

Flow = tuple[str, ...]
# Checks what was given for a stage of an operation, for a user if it is about one; its result is kept with the stage.
# Raises MatrixError.
StageCheck = Callable[[Mapping[str, Any], str, UserId | None], Awaitable[str]]


class Challenge(MatrixError):
    """The 401 that says what is still to be done."""

    status = 401

    def __init__(self, body: dict[str, Any], error: MatrixError | None = None) -> None:
        super().__init__(error.message if error else "further authentication is needed")
        self._body = {**body, **(error.body() if error else {})}

    def body(self) -> dict[str, Any]:
        return self._body


class WrongUser(Forbidden):
    """Somebody authenticates as another than the one whose account it is about: no further try helps."""


class Checks(Protocol):
    """What the stages are checked against."""

    async def is_password(self, user_id: UserId, password: str) -> bool: ...

    async def has_password(self, user_id: UserId) -> bool: ...

    async def is_registration_token(self, token: str) -> bool: ...


@dataclass(slots=True)
class _Session:
    session_id: str
    operation: str
    user_id: UserId | None
    done: dict[str, str] = field(default_factory=dict)
    flows: Sequence[Flow] = ()
    params: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class OpenStage:
    """A stage of a session as a page shows it: what it is about, and whether it is done."""

    params: Mapping[str, Any]
    is_done: bool


class Uia:
    """Leads callers through flows of stages."""

    def __init__(
        self, checks: Checks, limiter: RateLimiter, clock: Clock, randomness: Randomness, *, lifetime_s: int
    ) -> None:
        self._checks = checks
        self._limiter = limiter
        self._randomness = randomness
        self._sessions = ShortLived[_Session](clock, lifetime_s=lifetime_s, most=SESSIONS_MAX)
        self._stages: dict[str, StageCheck] = {}
        # Says who can prove at a sign-in service that it is they. Set by the assembly.
        self.signs_in_elsewhere: Callable[[UserId], Awaitable[bool]] | None = None

    def add_stage(self, stage: str, check: StageCheck) -> None:
        """Has a kind of stage checked by another part."""
        self._stages[stage] = check

    async def require(
        self,
        operation: str,
        auth: Mapping[str, Any] | None,
        flows: Sequence[Flow],
        *,
        user_id: UserId | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Mapping[str, str]:
        """Returns when a flow is complete: each stage with what was given for it (the registration token).

        `operation` names what is asked for, with its target. Raises Challenge while stages are missing, LimitExceeded
        after too many wrong passwords.
        """
        session = self._session(operation, user_id, auth)
        session.flows, session.params = flows, params or {}
        if auth is not None and "type" in auth and not (auth["type"] == SSO and SSO in session.done):
            try:
                stage, given = await self._pass(auth, flows, operation, user_id)
            except (WrongUser, LimitExceeded):
                raise
            except MatrixError as error:
                raise Challenge(self._todo(session, flows, params), error) from None
            session.done[stage] = given
        if any(all(stage in session.done for stage in flow) for flow in flows):
            self._sessions.take(session.session_id)
            return session.done
        raise Challenge(self._todo(session, flows, params))

    async def require_owner(
        self,
        operation: str,
        auth: Mapping[str, Any] | None,
        user_id: UserId,
        *,
        more: Sequence[Flow] = (),
        params: Mapping[str, Any] | None = None,
    ) -> Mapping[str, str]:
        """As `require`, by whatever the account's owner has: its password, or a service at which they sign in."""
        elsewhere = self.signs_in_elsewhere is not None and await self.signs_in_elsewhere(user_id)
        has_password = not elsewhere or await self._checks.has_password(user_id)
        flows: list[Flow] = [*([(PASSWORD,)] if has_password else []), *([(SSO,)] if elsewhere else []), *more]
        return await self.require(operation, auth, flows, user_id=user_id, params=params)

    def asked_of(self, session_id: str, stage: str) -> tuple[str, UserId | None]:
        """Which operation a stage is for, and whose. Raises NotFound as `open_stage`."""
        session = self._open(session_id, stage)
        return session.operation, session.user_id

    def pass_elsewhere(self, session_id: str, stage: str, user_id: UserId) -> None:
        """A stage was done on a page of ours, by this user. Raises NotFound, WrongUser."""
        session = self._open(session_id, stage)
        if session.user_id != user_id:
            raise WrongUser("this is to be done by the account itself")
        session.done[stage] = ""

    def open_stage(self, session_id: str, stage: str) -> OpenStage:
        """What a page shows of a stage. Raises NotFound for a session or a stage that isn't open."""
        session = self._open(session_id, stage)
        params = session.params.get(stage)
        return OpenStage(params if isinstance(params, dict) else {}, stage in session.done)

    async def pass_stage(self, session_id: str, stage: str, given: Mapping[str, Any]) -> None:
        """Does a stage for a client that can't, with what its user gave. Raises MatrixError.

        The password is checked for the account that the session was begun for, whoever sends it.
        """
        session = self._open(session_id, stage)
        auth = {**given, "type": stage, "identifier": {"type": "m.id.user", "user": session.user_id}}
        _, session.done[stage] = await self._pass(auth, session.flows, session.operation, session.user_id)

    def _open(self, session_id: str, stage: str) -> _Session:
        session = self._sessions.get(session_id)
        if session is None or not any(stage in flow for flow in session.flows):
            raise NotFound("this authentication is not, or no longer, open")
        return session

    def _session(self, operation: str, user_id: UserId | None, auth: Mapping[str, Any] | None) -> _Session:
        session_id = auth.get("session") if auth else None
        if isinstance(session_id, str):
            known = self._sessions.get(session_id)
            if known is not None and known.operation == operation and known.user_id == user_id:
                return known
            if known is not None:
                raise Forbidden("this authentication was begun for something else")
        fresh = _Session(self._randomness.token(18), operation, user_id)
        self._sessions.put(fresh.session_id, fresh)
        return fresh

    async def _pass(
        self, auth: Mapping[str, Any], flows: Sequence[Flow], operation: str, user_id: UserId | None
    ) -> tuple[str, str]:
        stage = auth["type"]
        if not isinstance(stage, str) or not any(stage in flow for flow in flows):
            raise MatrixError("this stage is in none of the flows", errcode="M_UNRECOGNIZED")
        if stage == PASSWORD:
            password = auth.get("password")
            if user_id is None or not _names(auth, user_id):
                raise WrongUser("this is to be done by the account itself")
            if not isinstance(password, str):
                raise Forbidden("the password is wrong")
            self._limiter.check("authentication_failed", user_id)
            if not await self._checks.is_password(user_id, password):
                raise Forbidden("the password is wrong")
            self._limiter.forget("authentication_failed", user_id)
        if stage == TOKEN:
            token = auth.get("token")
            if not isinstance(token, str) or not await self._checks.is_registration_token(token):
                raise MatrixError("the registration token is not good", errcode="M_UNAUTHORIZED")
            return stage, token
        if stage in (OAUTH, SSO):
            raise Forbidden("this is done on its page")
        if stage in self._stages:
            return stage, await self._stages[stage](auth, operation, user_id)
        return stage, ""

    def _todo(self, session: _Session, flows: Sequence[Flow], params: Mapping[str, Any] | None) -> dict[str, Any]:
        body: dict[str, Any] = {
            "flows": [{"stages": list(flow)} for flow in flows],
            "params": dict(params or {}),
            "session": session.session_id,
        }
        if session.done:
            body["completed"] = list(session.done)
        return body


def _names(auth: Mapping[str, Any], user_id: UserId) -> bool:
    """Whether the password stage is about this user. Older clients put `user` beside the password."""
    identifier = auth.get("identifier")
    named = identifier.get("user") if isinstance(identifier, dict) else auth.get("user")
    return named in (user_id, localpart_of(user_id))
