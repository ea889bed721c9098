"""A sign-in service that speaks OpenID Connect: its published metadata and keys, and the exchange of codes."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec
import orjson
import structlog
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from homeserver.accounts.sso import AFTER_LOGOUT, Begun, Identity, SsoFailed
from homeserver.config.sign_in import SsoProvider
from homeserver.core.errors import Forbidden
from homeserver.runtime.clock import Clock
from homeserver.runtime.gate import OneForAll
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

METADATA_LIFETIME_S = 3_600.0
LEEWAY_S = 120
KEYS_AGAIN_S = 60.0
KEYS_MAX = 100
ANSWER_BYTES_MAX = 256 * 1024
CODE_CHARS_MAX = 4_000
TOKEN_CHARS_MAX = 16_000
# A token goes back in an address when somebody signs out there.
HINT_CHARS_MAX = 4_000
ADDRESS_CHARS_MAX = 2_000
# Signatures that anybody can check by the provider's published keys, or that need none of ours: never `none` or HS.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]


class _Kept(msgspec.Struct, frozen=True):
    """What the service is told to end a sign-in: the token that it gave for it, unless that is too long to be sent."""

    token: str | None


class OpenIdProvider:
    """Implements `homeserver.accounts.sso.SignInService`."""

    def __init__(self, config: SsoProvider, outgoing: Outgoing, clock: Clock, *, base_url: str) -> None:
        self.id, self.name, self.brand = config.id, config.name, config.brand
        self.config = config
        self.timeout_s: float = config.timeout_s
        self.provider = config.issuer
        self._back_here = base_url + AFTER_LOGOUT
        self._outgoing = outgoing
        self._clock = clock
        self._metadata: tuple[float, dict[str, Any]] | None = None
        self._loading = OneForAll(SsoFailed)
        self._keys_read: tuple[float, dict[str, Any]] | None = None
        self._reading_keys = OneForAll(SsoFailed)

    async def url(self, begun: Begun, state: str, callback: str) -> str:
        metadata = await self._known()
        digest = hashlib.sha256(begun.verifier.encode()).digest()
        endpoint = str(metadata["authorization_endpoint"])
        query = {
            "response_type": "code",
            "client_id": self.config.client_id,
            "scope": " ".join(self.config.scopes),
            "code_challenge_method": "S256",
            "redirect_uri": callback,
            "state": state,
            "nonce": begun.nonce,
            "code_challenge": base64.urlsafe_b64encode(digest).rstrip(b"=").decode(),
        }
        return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}"

    async def identity(self, query: Mapping[str, str], begun: Begun, state: str, callback: str) -> Identity:
        code = query.get("code", "")
        if not 0 < len(code) <= CODE_CHARS_MAX:
            raise Forbidden("the sign-in service let nobody in")
        if "iss" in query and query["iss"] != str((await self._known())["issuer"]):
            raise Forbidden("another service answered than the one that was asked")
        claims, token = await self._claims(code, begun, callback)
        wanted, name = claims.get(self.config.localpart_claim), claims.get("name")
        session = claims.get("sid")
        return Identity(
            provider=self.provider,
            subject=str(claims["sub"]),
            wanted=wanted if isinstance(wanted, str) else None,
            display_name=name if isinstance(name, str) else None,
            session=session if isinstance(session, str) else None,
            details=self._details(token),
        )

    def _details(self, token: str) -> bytes | None:
        if not self.config.logout_there:
            return None
        return msgspec.json.encode(_Kept(token if len(token) <= HINT_CHARS_MAX else None))

    async def way_out(self, details: bytes, number: str) -> str | None:
        """Where somebody signs out there too; None where that isn't wanted, or can't be asked.

        spec: OpenID Connect RP-Initiated Logout 1.0, section 2
        """
        if not self.config.logout_there:
            return None
        try:
            place = (await self._known()).get("end_session_endpoint")
        except SsoFailed:
            return None
        if not isinstance(place, str) or not _is_address(place, self.config.issuer):
            log.info("no_way_out", provider=self.config.id)
            return None
        kept = msgspec.json.decode(details, type=_Kept)
        query = {"client_id": self.config.client_id, "post_logout_redirect_uri": self._back_here}
        if kept.token is not None:
            query["id_token_hint"] = kept.token
        return f"{place}{'&' if '?' in place else '?'}{urlencode(query)}"

    async def _claims(self, code: str, begun: Begun, redirect_uri: str) -> tuple[dict[str, Any], str]:
        """What the service says of whoever signed in, and the token in which it does. Raises SsoFailed, Forbidden."""
        metadata = await self._known()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "client_id": self.config.client_id,
            "code_verifier": begun.verifier,
        }
        headers: dict[str, str] = {}
        if self.config.client_secret is not None:
            secret = self.config.client_secret.reveal()
            if _takes_secret_in_form(metadata):
                form["client_secret"] = secret
            else:
                headers["Authorization"] = _basic(self.config.client_id, secret)
        answer = await self._ask("POST", str(metadata["token_endpoint"]), urlencode(form).encode(), headers)
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise SsoFailed("the sign-in service gave no identity")
        keys = await self._keys()
        try:
            decoded = jwt.decode(token, _key_set(keys), algorithms=ALGORITHMS)
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
        return await self._completed(dict(decoded.claims), metadata, answer.get("access_token")), token

    async def _completed(self, claims: dict[str, Any], metadata: Mapping[str, Any], token: object) -> dict[str, Any]:
        """With what the service says of the same person at its other place, where their name isn't signed along.

        Raises SsoFailed, Forbidden. spec: OpenID Connect Core, section 5.3
        """
        place = metadata.get("userinfo_endpoint")
        if self.config.localpart_claim in claims or not isinstance(place, str) or not isinstance(token, str):
            return claims
        if not 0 < len(token) <= TOKEN_CHARS_MAX or not token.isascii() or not token.isprintable():
            raise SsoFailed("the sign-in service gave a token that is none")
        said = await self._ask("GET", place, headers={"Authorization": f"Bearer {token}"})
        if said.get("sub") != claims["sub"]:
            log.warning("identity_refused", provider=self.config.id, error="OtherSubject")
            raise Forbidden("the sign-in service's answer is not good")
        return {**said, **claims}

    async def signed(self, token: str, key_id: str | None) -> tuple[str, Mapping[str, Any], Mapping[str, Any]]:
        """The issuer's name; header and claims of a token that the service signed. Nothing else of it is checked.

        By keys that were read lately: whoever sends tokens has us ask for them once in a while, not each time.
        Raises JoseError, ValueError, TypeError, KeyError for a token that isn't; SsoFailed.
        """
        metadata = await self._known()
        async with self._reading_keys.turn():
            age_s = self._clock.monotonic_s() - self._keys_read[0] if self._keys_read is not None else None
            keys = self._keys_read[1] if self._keys_read is not None else {}
            is_old = age_s is None or age_s > METADATA_LIFETIME_S
            if is_old or (age_s is not None and age_s > KEYS_AGAIN_S and not _has_key(keys, key_id)):
                keys = await self._keys()
        decoded = jwt.decode(token, _key_set(keys), algorithms=ALGORITHMS)
        return str(metadata["issuer"]), decoded.header, decoded.claims

    async def _keys(self) -> dict[str, Any]:
        """The keys that the service signs with, as it says now. Raises SsoFailed."""
        keys = await self._ask("GET", str((await self._known())["jwks_uri"]))
        found = keys.get("keys")
        if not isinstance(found, list) or len(found) > KEYS_MAX:
            raise SsoFailed("the sign-in service's keys can't be used")
        self._keys_read = (self._clock.monotonic_s(), keys)
        return keys

    async def _known(self) -> dict[str, Any]:
        async with self._loading.turn():
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

    async def _ask(
        self, method: str, url: str, form: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        headers = {"Accept": "application/json", **(headers or {})}
        if form is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        try:
            answer = await self._outgoing.request(
                method, url, headers=headers, body=form, timeout_s=self.timeout_s, response_bytes_max=ANSWER_BYTES_MAX
            )
            said = orjson.loads(answer.body)
        except (OutgoingError, orjson.JSONDecodeError) as error:
            log.warning("sign_in_service_failed", provider=self.config.id, error=type(error).__name__)
            raise SsoFailed("the sign-in service gives no answer") from None
        if answer.status != 200 or not isinstance(said, dict):
            raise SsoFailed("the sign-in service refused")
        return said


def _is_address(place: str, issuer: str) -> bool:
    """Whether the browser may be sent there: an address of the web, encrypted unless the service itself isn't."""
    try:
        parts = urlsplit(place)
    except ValueError:
        return False
    schemes = {"https", urlsplit(issuer).scheme}
    is_plain = place.isascii() and place.isprintable() and " " not in place and "\\" not in place
    return parts.scheme in schemes and bool(parts.hostname) and is_plain and len(place) <= ADDRESS_CHARS_MAX


def _key_set(keys: Mapping[str, Any]) -> KeySet:
    """Raises JoseError, ValueError, TypeError, KeyError."""
    return KeySet.import_key_set(dict(keys))  # type: ignore[arg-type]


def _has_key(keys: Mapping[str, Any], key_id: str | None) -> bool:
    return key_id is None or any(isinstance(key, dict) and key.get("kid") == key_id for key in keys.get("keys", ()))


def _takes_secret_in_form(metadata: Mapping[str, Any]) -> bool:
    """Whether our secret goes into the form; else into a header, which is what services take that say nothing."""
    methods = metadata.get("token_endpoint_auth_methods_supported")
    return isinstance(methods, list) and "client_secret_post" in methods and "client_secret_basic" not in methods


def _basic(client_id: str, secret: str) -> str:
    """RFC 6749, section 2.3.1: each is encoded as in a form first."""
    named = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    return f"Basic {base64.b64encode(named.encode()).decode()}"
