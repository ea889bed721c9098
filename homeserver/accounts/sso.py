"""Signing in at a service that speaks OpenID Connect. spec: client-server-api/#sso-client-loginauthentication

Each sign-in is bound to the browser that began it, to its provider, and to numbers used once (state, nonce, PKCE).
Somebody is known by issuer and subject alone.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import orjson
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from homeserver.accounts.newcomers import Newcomers
from homeserver.config.sign_in import SsoProvider
from homeserver.core.errors import Forbidden, MatrixError, NotFound
from homeserver.core.identifiers import UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

CALLBACK_PATH = "/_hansa/sso/callback"
BEGUN_MAX = 10_000
BEGUN_LIFETIME_S = 600.0
METADATA_LIFETIME_S = 3_600.0
LEEWAY_S = 120
TIMEOUT_S = 15.0
ANSWER_BYTES_MAX = 1_000_000
CODE_CHARS_MAX = 4_000
# Signatures that anybody can check by the provider's published keys, or that need none of ours: never `none` or HS.
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class SsoFailed(MatrixError):
    """The sign-in service gives no usable answer."""

    errcode, status = "M_UNKNOWN", 502


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A sign-in under way. `redirect_url` for apps that want a login token; else `onward`, a page of ours."""

    provider_id: str
    browser: bytes
    nonce: str
    verifier: str
    begun_s: float
    onward: str
    redirect_url: str | None = None


class OpenIdProvider:
    """One service: its published metadata and keys, and the exchange of codes."""

    def __init__(self, config: SsoProvider, outgoing: Outgoing, clock: Clock) -> None:
        self.config = config
        self._outgoing = outgoing
        self._clock = clock
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._loading = asyncio.Lock()

    async def authorization_url(self, values: Mapping[str, str]) -> str:
        metadata = await self._known()
        endpoint = str(metadata["authorization_endpoint"])
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "scope": " ".join(self.config.scopes),
            "code_challenge_method": "S256",
            **values,
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def claims(self, code: str, begun: Begun, redirect_uri: str) -> dict[str, Any]:
        """What the service says of whoever signed in, signed. Raises SsoFailed, Forbidden."""
        metadata = await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.config.client_id,
            "code_verifier": begun.verifier,
        }
        if self.config.client_secret is not None:
            form["client_secret"] = self.config.client_secret.reveal()
        answer = await self._ask("POST", str(metadata["token_endpoint"]), urlencode(form).encode())
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SsoFailed("the sign-in service gave no identity")
        keys = await self._ask("GET", str(metadata["jwks_uri"]))
        try:
            decoded = jwt.decode(token, KeySet.import_key_set(keys), algorithms=_ALGORITHMS)  # type: ignore[arg-type]
            jwt.JWTClaimsRegistry(
                now=self._clock.now_ms() // 1000,
                leeway=LEEWAY_S,
                iss={"essential": True, "value": metadata["issuer"]},
                aud={"essential": True, "value": self.config.client_id},
                exp={"essential": True},
                sub={"essential": True},
                nonce={"essential": True, "value": begun.nonce},
            ).validate(decoded.claims)
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("identity_refused", provider=self.config.id, error=type(error).__name__)
            raise Forbidden("the sign-in service's answer is not good") from None
        return dict(decoded.claims)

    async def issuer(self) -> str:
        return str((await self._known())["issuer"])

    async def _known(self) -> dict[str, Any]:
        async with self._loading:
            now = self._clock.monotonic_s()
            if self._metadata is not None and now - self._metadata[0] < METADATA_LIFETIME_S:
                return self._metadata[1]
            issuer = self.config.issuer.rstrip("/")
            found = await self._ask("GET", f"{issuer}/.well-known/openid-configuration")
            needed = ("authorization_endpoint", "token_endpoint", "jwks_uri", "issuer")
            if not all(isinstance(found.get(key), str) for key in needed) or found["issuer"].rstrip("/") != issuer:
                raise SsoFailed("the sign-in service's metadata can't be used")
            self._metadata = (now, found)
            return found

    async def _ask(self, method: str, url: str, form: bytes | None = None) -> dict[str, Any]:
        headers = {"Accept": "application/json"}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            answer = await self._outgoing.request(
                method, url, headers=headers, body=form, timeout_s=TIMEOUT_S, response_bytes_max=ANSWER_BYTES_MAX
            )
            said = orjson.loads(answer.body)
        except (OutgoingError, orjson.JSONDecodeError) as error:
            log.warning("sign_in_service_failed", provider=self.config.id, error=type(error).__name__)
            raise SsoFailed("the sign-in service gives no answer") from None
        if answer.status != 200 or not isinstance(said, dict):
            raise SsoFailed("the sign-in service refused")
        return said


class SingleSignOn:
    """Begins sign-ins elsewhere and finishes them."""

    def __init__(
        self,
        providers: Sequence[OpenIdProvider],
        newcomers: Newcomers,
        clock: Clock,
        randomness: Randomness,
        *,
        base_url: str,
    ) -> None:
        self.providers = {provider.config.id: provider for provider in providers}
        self._newcomers = newcomers
        self._clock = clock
        self._randomness = randomness
        self._callback = base_url + CALLBACK_PATH
        self._begun: OrderedDict[str, Begun] = OrderedDict()

    async def begin(self, provider_id: str, cookie: str, *, onward: str = "", redirect_url: str | None = None) -> str:
        """Where to send the browser. Raises NotFound, SsoFailed."""
        provider = self.providers.get(provider_id)
        if provider is None:
            raise NotFound("there is no such sign-in service")
        now = self._clock.monotonic_s()
        while self._begun:
            oldest = next(iter(self._begun.values()))
            if now - oldest.begun_s <= BEGUN_LIFETIME_S and len(self._begun) < BEGUN_MAX:
                break
            self._begun.popitem(last=False)
        state, verifier, nonce = (self._randomness.token(32) for _ in range(3))
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        url = await provider.authorization_url(
            {"redirect_uri": self._callback, "state": state, "nonce": nonce, "code_challenge": challenge}
        )
        self._begun[state] = Begun(
            provider_id=provider_id,
            browser=_digest(cookie),
            nonce=nonce,
            verifier=verifier,
            begun_s=now,
            onward=onward,
            redirect_url=redirect_url,
        )
        return url

    async def finish(self, query: Mapping[str, str], cookie: str) -> tuple[UserId, Begun]:
        """Who has signed in, and for what. Each state counts once. Raises Forbidden, SsoFailed."""
        begun = self._begun.pop(query.get("state", ""), None)
        if begun is None or self._clock.monotonic_s() - begun.begun_s > BEGUN_LIFETIME_S:
            raise Forbidden("this sign-in took too long, or was not begun here")
        if not hmac.compare_digest(begun.browser, _digest(cookie)):
            raise Forbidden("this sign-in was begun in another browser")
        code = query.get("code", "")
        if not 0 < len(code) <= CODE_CHARS_MAX:
            raise Forbidden("the sign-in service let nobody in")
        provider = self.providers[begun.provider_id]
        if "iss" in query and query["iss"] != await provider.issuer():
            raise Forbidden("another service answered than the one that was asked")
        claims = await provider.claims(code, begun, self._callback)
        wanted, name = claims.get(provider.config.localpart_claim), claims.get("name")
        user_id = await self._newcomers.by_subject(
            provider.config.issuer,
            str(claims["sub"]),
            wanted=wanted if isinstance(wanted, str) else None,
            display_name=name if isinstance(name, str) else None,
        )
        return user_id, begun


def _digest(value: str) -> bytes:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).digest()
