"""Sessions that a sign-in service ends. spec: OpenID Connect Back-Channel Logout 1.0

The service signs a token that says whose sessions end. Nothing in it is believed before its signature is, except which
of our services it claims to be from.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import orjson
import structlog
from joserfc.errors import JoseError

from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.openid_provider import LEEWAY_S, OpenIdProvider
from homeserver.accounts.sso import SsoFailed
from homeserver.accounts.upstream_sessions import Ending, Replayed, UpstreamSessions
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

EVENT = "http://schemas.openid.net/event/backchannel-logout"
TOKEN_CHARS_MAX = 16_000
NAME_CHARS_MAX = 1_000
# A token that was made longer ago comes too late, whatever it says of its end; so long each is remembered.
LIFETIME_S = 600
_TYPES = (None, "JWT", "jwt", "logout+jwt", "application/logout+jwt")


class OpenIdLogout:
    """Takes logout tokens from the services whose configuration allows them."""

    def __init__(self, providers: Sequence[OpenIdProvider], upstream: UpstreamSessions, clock: Clock) -> None:
        self._providers = [one for one in providers if one.config.backchannel_logout_enabled]
        self._upstream = upstream
        self._clock = clock

    async def end(self, token: str) -> None:
        """Ends the sessions that this token is about. Raises OAuthError (invalid_request, temporarily_unavailable)."""
        if not 0 < len(token) <= TOKEN_CHARS_MAX:
            raise OAuthError("invalid_request", "logout_token is missing, or too long")
        header, claimed = _unchecked(token)
        provider = self._named(claimed)
        if provider is None:
            raise OAuthError("invalid_request", "it is from no service that may end sessions here")
        key_id = header.get("kid")
        try:
            issuer, signed, claims = await provider.signed(token, key_id if isinstance(key_id, str) else None)
        except SsoFailed:
            raise OAuthError("temporarily_unavailable", "your keys can't be read now", status=503) from None
        except (JoseError, ValueError, TypeError, KeyError) as error:
            log.warning("logout_refused", provider=provider.id, error=type(error).__name__)
            raise OAuthError("invalid_request", "it is not signed by a key of yours") from None
        if signed.get("typ") not in _TYPES:
            raise OAuthError("invalid_request", "it is another kind of token")
        await self._end(provider, issuer, claims)

    async def _end(self, provider: OpenIdProvider, issuer: str, claims: Mapping[str, Any]) -> None:
        """Raises OAuthError."""
        good_until_s = self._good_until_s(issuer, provider.config.client_id, claims)
        order, sid, sub = claims.get("jti"), claims.get("sid"), claims.get("sub")
        if not _is_name(order) or not (sid is None or _is_name(sid)) or not (sub is None or _is_name(sub)):
            raise OAuthError("invalid_request", "jti, sid or sub can't be used")
        name = None if provider.config.backchannel_logout_ignore_sub else sub
        if name is None and sid is None:
            raise OAuthError("invalid_request", "it names nothing that can be ended")
        try:
            await self._upstream.end(
                Ending(
                    provider=provider.provider,
                    order=str(order),
                    good_until_ts=good_until_s * 1000,
                    name=name,
                    sessions=[sid] if sid is not None else [],
                )
            )
        except Replayed as error:
            raise OAuthError("invalid_request", error.message) from None

    def _good_until_s(self, issuer: str, client_id: str, claims: Mapping[str, Any]) -> int:
        """Section 2.6. Raises OAuthError for a token of another kind, for others, or of another time."""
        now_s = self._clock.now_ms() // 1000
        audience, issued, ends = claims.get("aud"), claims.get("iat"), claims.get("exp")
        if claims.get("iss") != issuer or client_id not in (audience if isinstance(audience, list) else [audience]):
            raise OAuthError("invalid_request", "it is from or for somebody else")
        events = claims.get("events")
        if "nonce" in claims or not isinstance(events, dict) or not isinstance(events.get(EVENT), dict):
            raise OAuthError("invalid_request", "it is no order to end sessions")
        if not _is_time(issued) or not (ends is None or _is_time(ends)):
            raise OAuthError("invalid_request", "it does not say when it was made")
        latest_s = int(issued) + LIFETIME_S + LEEWAY_S
        if ends is not None:
            latest_s = min(latest_s, int(ends) + LEEWAY_S)
        if issued > now_s + LEEWAY_S or now_s >= latest_s:
            raise OAuthError("invalid_request", "it is too early or too late")
        return latest_s + 1

    def _named(self, claimed: Mapping[str, Any]) -> OpenIdProvider | None:
        """The service that a token claims to be from; of several with one issuer, the one that it is for."""
        issuer, audience = claimed.get("iss"), claimed.get("aud")
        if not isinstance(issuer, str):
            return None
        found = [one for one in self._providers if one.config.issuer.rstrip("/") == issuer.rstrip("/")]
        meant = audience if isinstance(audience, list) else [audience]
        return next((one for one in found if one.config.client_id in meant), found[0] if found else None)


def _unchecked(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a token says, whoever made it. Raises OAuthError."""
    try:
        header, claims, _ = (_decoded(part) for part in token.encode("ascii").split(b"."))
        read = orjson.loads(header), orjson.loads(claims)
    except (ValueError, binascii.Error):
        raise OAuthError("invalid_request", "it is no signed token") from None
    if not isinstance(read[0], dict) or not isinstance(read[1], dict):
        raise OAuthError("invalid_request", "it is no signed token")
    return read


def _decoded(part: bytes) -> bytes:
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= NAME_CHARS_MAX


def _is_time(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e11
