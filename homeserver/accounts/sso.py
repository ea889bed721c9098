"""Signing in at other services. spec: client-server-api/#sso-client-loginauthentication

Each sign-in is bound to the browser that began it, to its service, and to numbers used once. Somebody is known by the
service and its own name for them alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from homeserver.accounts.newcomers import Newcomers
from homeserver.accounts.oauth.grants import digest_of
from homeserver.accounts.short_lived import ShortLived
from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.gate import Gate
from homeserver.runtime.ids import Randomness
from homeserver.storage.upstream_sessions import UpstreamSession

CALLBACK_PATH = "/_hansa/sso/callback"
# Where people come back to from signing out at a service; some send them only to addresses that they were told before.
AFTER_LOGOUT = "/_hansa/login"
BEGUN_MAX = 10_000
BEGUN_LIFETIME_S = 600.0
# Of each service.
AT_ONCE, WAITING_MAX = 8, 100


class SsoFailed(MatrixError):
    """The sign-in service gives no usable answer."""

    errcode, status = "M_UNKNOWN", 502


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in under way. `redirect_url` for apps that want a login token; else `onward`, a page of ours.

    `stage_of` is the session of interactive authentication in which somebody proves that it is they.
    """

    provider_id: str
    browser: bytes
    nonce: str
    verifier: str
    onward: str
    redirect_url: str | None = None
    stage_of: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who somebody is at a service: `subject` for ever; a new account is called as they are `wanted` to be.

    `session` is what the service calls this sign-in, `name` what it calls the person in it where that isn't `subject`:
    so it says later that it has ended. `details` is JSON, of what it must be told to end it there.
    """

    provider: str
    subject: str
    wanted: str | None
    display_name: str | None
    session: str | None = None
    name: str | None = None
    details: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrived:
    """Somebody who came back. `upstream` is the number of this sign-in, unless it only confirms something."""

    user_id: UserId
    begun: Begun
    upstream: int | None = None


class SignInService(Protocol):
    """A service at which people sign in. `brand` is a hint for apps which picture to show.

    Each of its answers may take `timeout_s`, and both of what is asked here twice that.

    `provider` is what the identities that it gives belong to, whatever its `id` in the configuration.
    """

    id: str
    provider: str
    name: str
    brand: str | None
    timeout_s: float

    async def url(self, begun: Begun, state: str, callback: str) -> str:
        """Where to send the browser. Raises SsoFailed."""
        ...

    async def identity(self, query: Mapping[str, str], begun: Begun, state: str, callback: str) -> Identity:
        """Who came back with this query. Raises Forbidden, SsoFailed."""
        ...


class SingleSignOn:
    """Begins sign-ins elsewhere and finishes them."""

    def __init__(
        self,
        providers: Sequence[SignInService],
        newcomers: Newcomers,
        clock: Clock,
        randomness: Randomness,
        *,
        base_url: str,
    ) -> None:
        self.providers = {provider.id: provider for provider in providers}
        self._gates = {provider.id: Gate(AT_ONCE, WAITING_MAX) for provider in providers}
        self._newcomers = newcomers
        self._clock = clock
        self._randomness = randomness
        self._callback = base_url + CALLBACK_PATH
        self._begun = ShortLived[Begun](clock, lifetime_s=BEGUN_LIFETIME_S, most=BEGUN_MAX)

    async def services_of(self, user_id: UserId) -> list[SignInService]:
        """Those at which the owner of this account can sign in."""
        if not self.providers:
            return []
        known = await self._newcomers.providers_of(user_id)
        return [one for one in self.providers.values() if one.provider in known]

    async def has_service(self, user_id: UserId) -> bool:
        return bool(await self.services_of(user_id))

    async def begin(
        self,
        provider_id: str,
        cookie: str,
        *,
        onward: str = "",
        redirect_url: str | None = None,
        stage_of: str | None = None,
    ) -> str:
        """Where to send the browser. Raises NotFound, SsoFailed, Unavailable."""
        provider = self.providers.get(provider_id)
        if provider is None:
            raise NotFound("there is no such sign-in service")
        state, verifier, nonce = (self._randomness.token(32) for _ in range(3))
        begun = Begun(
            provider_id=provider_id,
            browser=digest_of(cookie),
            nonce=nonce,
            verifier=verifier,
            onward=onward,
            redirect_url=redirect_url,
            stage_of=stage_of,
        )
        async with self._asking(provider):
            url = await provider.url(begun, state, self._callback)
        self._begun.put(state, begun)
        return url

    def under_way(self, state: str, provider_id: str) -> Begun | None:
        """The sign-in of this state at this service, if there is one; it goes on."""
        begun = self._begun.get(state)
        return begun if begun is not None and begun.provider_id == provider_id else None

    async def finish(self, query: Mapping[str, str], cookie: str) -> Arrived:
        """Who has signed in, and for what. Each state counts once. Raises Forbidden, SsoFailed, Unavailable."""
        state = query.get("state", "")
        begun = self._begun.take(state)
        if begun is None:
            raise Forbidden("this sign-in took too long, or was not begun here")
        if not hmac.compare_digest(begun.browser, digest_of(cookie)):
            raise Forbidden("this sign-in was begun in another browser")
        provider = self.providers[begun.provider_id]
        async with self._asking(provider):
            found = await provider.identity(query, begun, state, self._callback)
        if begun.stage_of is not None:
            # Whoever confirms something has an account already.
            known = await self._newcomers.known(found.provider, found.subject)
            if known is None:
                raise Forbidden("nobody here is known by this identity")
            return Arrived(user_id=known, begun=begun)
        user_id = await self._newcomers.by_subject(
            found.provider, found.subject, wanted=found.wanted, display_name=found.display_name
        )
        upstream = await self._newcomers.arrived(
            UpstreamSession(
                provider=found.provider,
                name_digest=digest_of(found.name or found.subject),
                session_digest=digest_of(found.session) if found.session else None,
                user_id=user_id,
                opened_ts=self._clock.now_ms(),
                details=found.details,
            )
        )
        return Arrived(user_id=user_id, begun=begun, upstream=upstream)

    @contextlib.asynccontextmanager
    async def _asking(self, provider: SignInService) -> AsyncIterator[None]:
        """A turn at a service that ends in time; the database isn't held in it. Raises SsoFailed, Unavailable."""
        try:
            async with asyncio.timeout(2 * provider.timeout_s), self._gates[provider.id].turn():
                yield
        except TimeoutError:
            raise SsoFailed("the sign-in service is too slow") from None
