"""From what was allowed to sessions: the token endpoint, and revocation. spec: client-server-api/#grant-types"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.accounts.oauth.client_metadata import CODE_GRANT, DEVICE_GRANT, REFRESH_GRANT
from homeserver.accounts.oauth.clients import OAuthClients
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.oauth.grants import Grants, digest_of
from homeserver.accounts.oauth.scopes import scope_of
from homeserver.accounts.sessions import Sessions
from homeserver.core.errors import Forbidden, LimitExceeded, UnknownToken
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.runtime.clock import Clock
from homeserver.storage import oauth, tokens, users
from homeserver.storage.database import Database, Tx

SPENT_KEPT = 50
TOKEN_CHARS_MAX = 512


class OAuthTokens:
    """Gives out tokens, exchanges them and ends them."""

    def __init__(self, db: Database, clock: Clock, sessions: Sessions, clients: OAuthClients, grants: Grants) -> None:
        self._db = db
        self._clock = clock
        self._sessions = sessions
        self._clients = clients
        self._grants = grants

    async def answer(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The token endpoint. Raises OAuthError."""
        kind, client_id = form.get("grant_type"), form.get("client_id", "")
        client = await self._clients.get(client_id)
        if kind not in client["grant_types"] and kind != REFRESH_GRANT:
            raise OAuthError("unsupported_grant_type", "this client did not register for this grant type")
        if kind == CODE_GRANT:
            return await self._by_code(form, client)
        if kind == DEVICE_GRANT:
            taken = await self._grants.take_device(form)
            assert taken.user_id is not None
            return await self._open(taken.user_id, taken.device_id, client_id, client, taken.upstream_nid)
        if kind == REFRESH_GRANT:
            return await self._by_refresh(form.get("refresh_token", ""), client_id)
        raise OAuthError("unsupported_grant_type", "no such grant type is known here")

    async def revoke(self, token: str) -> None:
        """Ends the session that this token, of either kind, belongs to. Nothing happens where there is none."""
        if not 0 < len(token) <= TOKEN_CHARS_MAX:
            return
        digest = digest_of(token)
        holder = await tokens.holder(self._db, digest)
        if holder is not None and holder.device_id is not None:
            await self._sessions.end_devices(holder.user_id, [holder.device_id])
            return
        owner = await tokens.refresh_owner(self._db, digest)
        if owner is not None:
            await self._sessions.end_devices(owner[0], [owner[1]])

    async def is_oauth(self, user_id: UserId, device_id: DeviceId | None) -> bool:
        """Whether this device was signed in this way."""
        return device_id is not None and await oauth.session(self._db, user_id, device_id) is not None

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Forgets what hung on the devices."""
        await oauth.delete_sessions(tx, user_id, list(device_ids))

    async def _by_code(self, form: Mapping[str, str], client: Mapping[str, Any]) -> dict[str, Any]:
        code = form.get("code", "")
        replayed = await self._grants.session_of_used(code)
        if replayed is not None:
            # Somebody has this code who shouldn't: what was made with it ends. RFC 6749 section 10.5
            await self._sessions.end_devices(replayed[0], [replayed[1]])
            raise OAuthError("invalid_grant", "this code was used before")
        kept = await self._grants.take_code(form)
        return await self._open(kept.user_id, kept.device_id, kept.client_id, client, kept.upstream_nid)

    async def _by_refresh(self, refresh_token: str, client_id: str) -> dict[str, Any]:
        digest = digest_of(refresh_token)
        stolen = await oauth.spent(self._db, digest)
        owner = await tokens.refresh_owner(self._db, digest)
        if owner is None and stolen is not None:
            await self._sessions.end_devices(stolen[0], [stolen[1]])
            raise OAuthError("invalid_grant", "this refresh token was used before: the session has ended")
        if owner is None or await oauth.session(self._db, *owner) != client_id:
            raise OAuthError("invalid_grant", "this refresh token is not good for this client")
        user_id, device_id = owner
        # Locking ends no session: a client that is refused here forgets its keys, and unlocking brings none back.
        await self._check_usable(user_id, even_locked=True)
        try:
            issued = await self._sessions.refresh(refresh_token)
        except UnknownToken as error:
            raise OAuthError("invalid_grant", error.message) from None
        async with self._db.transaction() as tx:
            await oauth.spend(tx, digest, user_id, device_id, self._clock.now_ms(), SPENT_KEPT)
        return _shown(issued, device_id)

    async def _open(
        self,
        user_id: UserId,
        device_id: DeviceId,
        client_id: str,
        client: Mapping[str, Any],
        upstream: int | None,
    ) -> dict[str, Any]:
        await self._check_usable(user_id)
        name = str(client.get("client_name") or client["client_uri"])
        try:
            async with self._db.transaction() as tx:
                issued = await self._sessions.open(
                    tx, user_id, device_id=device_id, display_name=name, refreshable=True, upstream=upstream
                )
                await oauth.set_session(tx, user_id, device_id, client_id)
        except (LimitExceeded, Forbidden) as error:
            raise OAuthError("invalid_grant", error.message) from None
        self._sessions.account_changed(user_id)
        return _shown(issued, device_id)

    async def _check_usable(self, user_id: UserId, *, even_locked: bool = False) -> None:
        user = await users.by_id(self._db, user_id)
        if user is None or user.is_deactivated or (user.is_locked and not even_locked):
            raise OAuthError("invalid_grant", "this account can't be used")


def _shown(issued: Mapping[str, Any], device_id: DeviceId) -> dict[str, Any]:
    return {
        "access_token": issued["access_token"],
        "token_type": "Bearer",
        "expires_in": issued["expires_in_ms"] // 1000,
        "refresh_token": issued["refresh_token"],
        "scope": scope_of(device_id),
    }
