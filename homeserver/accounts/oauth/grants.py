"""What people allow clients: by a code that a browser carries, or by a code that they type.

spec: client-server-api/#authorisation-code-grant, client-server-api/#device-authorisation-grant
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from homeserver.accounts.oauth.client_metadata import CODE_GRANT, DEVICE_GRANT, is_registered
from homeserver.accounts.oauth.clients import OAuthClients
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.oauth.scopes import device_of
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import oauth
from homeserver.storage.database import Database, Tx
from homeserver.storage.oauth import Code, DeviceCode

CODE_LIFETIME_S = 60
DEVICE_CODE_LIFETIME_S = 1_200
POLL_INTERVAL_S = 5
STATE_CHARS_MAX = 2_000
# No vowels, so that no words come out; no characters that look alike.
_USER_CODE_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
_USER_CODE_LENGTH = 8
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A checked request for somebody's consent."""

    client_id: str
    client: Mapping[str, Any]
    redirect_uri: str
    device_id: DeviceId
    challenge: str
    state: str
    response_mode: str
    wants_to_register: bool = False


class BadRedirect(OAuthError):
    """Client or redirect address are wrong: the reader is told, and sent nowhere."""


class Refused(OAuthError):
    """The client is told, at its own redirect address."""

    def __init__(self, error: str, message: str, asked: tuple[str, str, str]) -> None:
        super().__init__(error, message)
        self.redirect_uri, self.response_mode, self.state = asked


class Grants:
    """Checks what clients ask for, keeps what people allow, and lets clients take it up once."""

    def __init__(self, db: Database, clients: OAuthClients, clock: Clock, randomness: Randomness) -> None:
        self._db = db
        self._clients = clients
        self._clock = clock
        self._randomness = randomness

    # --- by a browser

    async def parse(self, query: Mapping[str, str]) -> Asked:
        """An authorisation request. Raises BadRedirect, Refused."""
        client_id, redirect = query.get("client_id", ""), query.get("redirect_uri", "")
        try:
            client = await self._clients.get(client_id)
        except OAuthError as error:
            raise BadRedirect(error.error, error.message) from None
        if not is_registered(redirect, client):
            raise BadRedirect("invalid_request", "this redirect address is not one of the client's")
        state, mode = query.get("state", ""), query.get("response_mode", "query")
        back = (redirect, mode if mode == "fragment" else "query", state[:STATE_CHARS_MAX])
        challenge = query.get("code_challenge", "")
        if query.get("response_type") != "code" or CODE_GRANT not in client["grant_types"]:
            raise Refused("unsupported_response_type", "response_type must be code", back)
        if mode not in ("query", "fragment") or len(state) > STATE_CHARS_MAX:
            raise Refused("invalid_request", "response_mode must be query or fragment", back)
        if query.get("code_challenge_method") != "S256" or _CHALLENGE.fullmatch(challenge) is None:
            raise Refused("invalid_request", "a code_challenge of method S256 is needed", back)
        try:
            device_id = device_of(query.get("scope", ""))
        except OAuthError as error:
            raise Refused(error.error, error.message, back) from None
        return Asked(
            client_id=client_id,
            client=client,
            redirect_uri=redirect,
            device_id=device_id,
            challenge=challenge,
            state=state,
            response_mode=mode,
            wants_to_register="create" in query.get("prompt", "").split(),
        )

    async def allow(self, asked: Asked, user_id: UserId, upstream: int | None) -> str:
        """A code for the client: good once, for a minute, for whoever knows the verifier.

        `upstream` is the sign-in elsewhere with which all ends that comes of it.
        """
        code, now = self._randomness.token(32), self._clock.now_ms()
        kept = Code(
            client_id=asked.client_id,
            redirect_uri=asked.redirect_uri,
            user_id=user_id,
            device_id=asked.device_id,
            challenge=asked.challenge,
            expires_ts=now + CODE_LIFETIME_S * 1000,
            upstream_nid=upstream,
        )
        async with self._db.transaction() as tx:
            await oauth.insert_code(tx, digest_of(code), kept, now)
        return code

    async def take_code(self, tx: Tx, form: Mapping[str, str]) -> Code | None:
        """What a code stands for, used up with this transaction; None where it, or what came with it, isn't good.

        Then it is gone as well: nobody tries verifiers.
        """
        digest = digest_of(form["code"])
        kept = await oauth.use_code(tx, digest)
        if kept is None or self._is_good(kept, form):
            return kept
        await oauth.delete_code(tx, digest)
        return None

    def _is_good(self, kept: Code, form: Mapping[str, str]) -> bool:
        """Whether it is shown in time, by the client that it was made for, from the place where that asked."""
        verifier = form.get("code_verifier", "")
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        is_proved = _VERIFIER.fullmatch(verifier) is not None and hmac.compare_digest(challenge, kept.challenge)
        is_same = kept.client_id == form.get("client_id") and kept.redirect_uri == form.get("redirect_uri")
        return is_proved and is_same and kept.expires_ts > self._clock.now_ms()

    async def session_of_used(self, tx: Tx, code: str) -> tuple[UserId, DeviceId] | None:
        """Whose session was made with a code that somebody shows again."""
        return await oauth.used_code(tx, digest_of(code))

    # --- by typing

    async def begin_device(self, client_id: str, scope: str) -> dict[str, Any]:
        """device_code, user_code and how to wait. Raises OAuthError."""
        client = await self._clients.get(client_id)
        if DEVICE_GRANT not in client["grant_types"]:
            raise OAuthError("unauthorized_client", "this client did not register for this grant")
        device_id, now = device_of(scope), self._clock.now_ms()
        device_code = self._randomness.token(32)
        for _ in range(5):
            user_code = self._user_code()
            kept = DeviceCode(
                digest=digest_of(device_code),
                user_code=user_code,
                client_id=client_id,
                device_id=device_id,
                expires_ts=now + DEVICE_CODE_LIFETIME_S * 1000,
            )
            async with self._db.transaction() as tx:
                if await oauth.insert_device_code(tx, kept, now):
                    break
        else:
            raise OAuthError("temporarily_unavailable", "too many devices wait", status=503)
        return {
            "device_code": device_code,
            "user_code": f"{user_code[:4]}-{user_code[4:]}",
            "expires_in": DEVICE_CODE_LIFETIME_S,
            "interval": POLL_INTERVAL_S,
        }

    async def waiting_device(self, user_code: str) -> tuple[DeviceCode, Mapping[str, Any]] | None:
        """The device that shows this code, and its client."""
        plain = "".join(char for char in user_code.upper() if char.isalnum())
        if len(plain) != _USER_CODE_LENGTH:
            return None
        found = await oauth.by_user_code(self._db, plain, self._clock.now_ms())
        if found is None or found.user_id is not None or found.is_denied:
            return None
        return found, await self._clients.get(found.client_id)

    async def decide_device(self, code: DeviceCode, user_id: UserId, *, is_denied: bool, upstream: int | None) -> bool:
        """False if it is too late."""
        now = self._clock.now_ms()
        async with self._db.transaction() as tx:
            return await oauth.decide(tx, code.user_code, user_id, is_denied=is_denied, upstream=upstream, now_ms=now)

    async def take_device(self, form: Mapping[str, str]) -> DeviceCode:
        """What was allowed to a waiting device. Raises OAuthError: authorization_pending, slow_down, …"""
        now = self._clock.now_ms()
        async with self._db.transaction() as tx:
            kept = await oauth.poll(tx, digest_of(form.get("device_code", "")), now)
            if kept is not None and kept.user_id is not None and not kept.is_denied and kept.expires_ts > now:
                if kept.client_id != form.get("client_id") or not await oauth.take_device_code(tx, kept.digest):
                    raise OAuthError("invalid_grant", "this device code is not good")
                return kept
        if kept is None or kept.client_id != form.get("client_id"):
            raise OAuthError("invalid_grant", "this device code is not good")
        if kept.expires_ts <= now:
            raise OAuthError("expired_token", "this device code has expired")
        if kept.is_denied:
            raise OAuthError("access_denied", "the user denied it")
        if now - kept.polled_ts < POLL_INTERVAL_S * 900:
            raise OAuthError("slow_down", "ask less often")
        raise OAuthError("authorization_pending", "the user has not decided yet")

    def _user_code(self) -> str:
        """35 bits, of letters that can be read aloud. Bytes past the last whole round of letters are left out."""
        letters = ""
        while len(letters) < _USER_CODE_LENGTH:
            [byte] = self._randomness.bytes(1)
            if byte < 240:
                letters += _USER_CODE_LETTERS[byte % len(_USER_CODE_LETTERS)]
        return letters


def digest_of(secret: str) -> bytes:
    """The form in which secrets are kept."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()
