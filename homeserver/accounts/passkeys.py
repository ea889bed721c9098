"""Passkeys (WebAuthn): keys of a person's authenticators, with which they sign in on our pages without a password, or
after it. W3C Web Authentication, level 3.

A challenge counts once, within minutes, for the browser that it was given to. Where an account wants a passkey after
the password, the password alone opens no session anywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
import structlog
import webauthn
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from homeserver.accounts.oauth.grants import digest_of
from homeserver.accounts.short_lived import ShortLived
from homeserver.core.errors import Forbidden, InvalidParam, LimitExceeded, NotFound
from homeserver.core.identifiers import UserId, localpart_of
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage import passkeys
from homeserver.storage.database import Database
from homeserver.storage.passkeys import PasskeyRow

log = structlog.get_logger()

PER_USER_MAX = 20
NAME_CHARS_MAX = 100
RESPONSE_CHARS_MAX = 20_000
CHALLENGES_MAX = 10_000
CHALLENGE_LIFETIME_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    challenge: bytes
    # Who has proved their password before; None: whoever the passkey is of.
    user_id: UserId | None


class Passkeys:
    """`base_url` is the address that browsers see: passkeys are bound to its host."""

    def __init__(self, db: Database, clock: Clock, randomness: Randomness, base_url: str, server_name: str) -> None:
        self._db = db
        self._clock = clock
        self._randomness = randomness
        # By the digest of the cookie that each was given to.
        self._asked = ShortLived[_Asked](clock, lifetime_s=CHALLENGE_LIFETIME_S, most=CHALLENGES_MAX)
        self._server_name = server_name
        at = urlsplit(base_url)
        self._host = at.hostname or ""
        self._origin = f"{at.scheme}://{at.netloc}"

    @property
    def are_possible(self) -> bool:
        """Browsers know passkeys for names alone, and only where the connection can't be listened to."""
        is_name = any(char.isalpha() for char in self._host) and ":" not in self._host
        return is_name and (self._origin.startswith("https:") or self._host == "localhost")

    async def of_user(self, user_id: UserId) -> list[PasskeyRow]:
        return await passkeys.of_user(self._db, user_id)

    async def is_required(self, user_id: UserId) -> bool:
        """Whether the account's password alone lets nobody in."""
        return await passkeys.is_required(self._db, user_id)

    async def require(self, user_id: UserId, is_required: bool) -> None:
        """Raises InvalidParam where there is no passkey."""
        async with self._db.transaction() as tx:
            if is_required and not await passkeys.of_user(tx, user_id):
                raise InvalidParam("add a passkey first")
            await passkeys.require(tx, user_id, is_required)

    async def options_to_add(self, user_id: UserId, cookie: str) -> str:
        """JSON for `navigator.credentials.create`."""
        async with self._db.transaction() as tx:
            handle = await passkeys.handle(tx, user_id, self._randomness.bytes(32))
        options = webauthn.generate_registration_options(
            rp_id=self._host,
            rp_name=self._server_name,
            user_id=handle,
            user_name=user_id,
            user_display_name=localpart_of(user_id),
            challenge=self._challenge(cookie, user_id),
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.REQUIRED,
                user_verification=UserVerificationRequirement.REQUIRED,
            ),
            exclude_credentials=[
                PublicKeyCredentialDescriptor(id=one.credential_id) for one in await self.of_user(user_id)
            ],
        )
        return webauthn.options_to_json(options)

    async def add(self, user_id: UserId, cookie: str, response: str, name: str) -> None:
        """Raises Forbidden for a response that isn't good, InvalidParam, LimitExceeded."""
        if not 0 < len(name) <= NAME_CHARS_MAX or not name.isprintable():
            raise InvalidParam(f"a passkey needs a name of 1 to {NAME_CHARS_MAX} characters")
        asked = self._take(cookie)
        if asked.user_id != user_id:
            raise Forbidden("this passkey was made for another account")
        try:
            made = webauthn.verify_registration_response(
                credential=_parsed(response),
                expected_challenge=asked.challenge,
                expected_rp_id=self._host,
                expected_origin=self._origin,
                require_user_verification=True,
            )
        except (WebAuthnException, ValueError, TypeError, KeyError) as error:
            log.info("passkey_refused", error=type(error).__name__)
            raise Forbidden("this passkey can't be used") from None
        row = PasskeyRow(
            credential_id=made.credential_id,
            user_id=user_id,
            public_key=made.credential_public_key,
            sign_count=made.sign_count,
            name=name,
            created_ts=self._clock.now_ms(),
        )
        async with self._db.transaction() as tx:
            if not await passkeys.insert(tx, row, PER_USER_MAX):
                raise LimitExceeded(f"an account may have {PER_USER_MAX} passkeys", retry_after_ms=60_000)

    async def remove(self, user_id: UserId, credential_id: str) -> None:
        """Raises NotFound. Without the last one none is required."""
        try:
            found = bytes.fromhex(credential_id)
        except ValueError:
            raise NotFound("there is no such passkey") from None
        async with self._db.transaction() as tx:
            if not await passkeys.delete(tx, user_id, found):
                raise NotFound("there is no such passkey")

    async def end(self, user_id: UserId) -> bool:
        """The account has ended."""
        async with self._db.transaction() as tx:
            await passkeys.delete_all(tx, user_id)
        return True

    async def options_to_sign_in(self, cookie: str, user_id: UserId | None = None) -> str:
        """JSON for `navigator.credentials.get`; with `user_id` for somebody who has proved their password."""
        known = await self.of_user(user_id) if user_id is not None else []
        options = webauthn.generate_authentication_options(
            rp_id=self._host,
            challenge=self._challenge(cookie, user_id),
            allow_credentials=[PublicKeyCredentialDescriptor(id=one.credential_id) for one in known],
            user_verification=UserVerificationRequirement.REQUIRED,
        )
        return webauthn.options_to_json(options)

    async def prove(self, cookie: str, response: str) -> UserId:
        """Whose passkey this is. Raises Forbidden."""
        asked = self._take(cookie)
        parsed = _parsed(response)
        try:
            credential_id = webauthn.base64url_to_bytes(str(parsed.get("id", "")))
        except ValueError:
            raise Forbidden("this passkey isn't known here") from None
        async with self._db.transaction() as tx:
            row = await passkeys.one_for_update(tx, credential_id)
            if row is None or (asked.user_id is not None and row.user_id != asked.user_id):
                raise Forbidden("this passkey isn't known here")
            try:
                proved = webauthn.verify_authentication_response(
                    credential=parsed,
                    expected_challenge=asked.challenge,
                    expected_rp_id=self._host,
                    expected_origin=self._origin,
                    credential_public_key=row.public_key,
                    credential_current_sign_count=row.sign_count,
                    require_user_verification=True,
                )
            except (WebAuthnException, ValueError, TypeError, KeyError) as error:
                log.info("passkey_refused", error=type(error).__name__)
                raise Forbidden("this passkey isn't known here") from None
            # Who wasn't known before is named by the authenticator as well: it must be the account of this passkey.
            # W3C Web Authentication, level 3, section 7.2, step 6.
            handle = await passkeys.handle(tx, row.user_id, self._randomness.bytes(32))
            if _named(parsed) not in ({handle} if asked.user_id is None else {handle, b""}):
                log.info("passkey_refused", error="user_handle")
                raise Forbidden("this passkey isn't known here")
            await passkeys.mark_used(tx, row.credential_id, proved.new_sign_count, self._clock.now_ms())
        return row.user_id

    def _challenge(self, cookie: str, user_id: UserId | None) -> bytes:
        asked = _Asked(challenge=self._randomness.bytes(32), user_id=user_id)
        self._asked.put(digest_of(cookie), asked)
        return asked.challenge

    def _take(self, cookie: str) -> _Asked:
        asked = self._asked.take(digest_of(cookie))
        if asked is None:
            raise Forbidden("that took too long: load the page again")
        return asked


def _named(parsed: dict[str, object]) -> bytes:
    """The handle of the account that the authenticator has the passkey for; empty where it doesn't say."""
    response = parsed.get("response")
    named = response.get("userHandle") if isinstance(response, dict) else None
    try:
        return webauthn.base64url_to_bytes(named) if isinstance(named, str) else b""
    except ValueError:
        return b"\x00"


def _parsed(response: str) -> dict[str, object]:
    """Raises Forbidden."""
    if len(response) > RESPONSE_CHARS_MAX:
        raise Forbidden("this passkey can't be used")
    try:
        found = orjson.loads(response)
    except orjson.JSONDecodeError:
        raise Forbidden("this passkey can't be used") from None
    if not isinstance(found, dict):
        raise Forbidden("this passkey can't be used")
    return found
