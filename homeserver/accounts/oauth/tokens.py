"""From what was allowed to sessions: the token endpoint, and revocation. spec: client-server-api/#grant-types"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from homeserver.accounts.oauth.client_metadata import CODE_GRANT, GRANTS, REFRESH_GRANT, name_of
from homeserver.accounts.oauth.clients import OAuthClients
from homeserver.accounts.oauth.errors import OAuthError
from homeserver.accounts.oauth.grants import Grants, digest_of
from homeserver.accounts.oauth.scopes import scope_of
from homeserver.accounts.sessions import Sessions
from homeserver.core.errors import Forbidden, LimitExceeded, UnknownToken
from homeserver.core.identifiers import DeviceId, UserId
from homeserver.storage import oauth, tokens, users
from homeserver.storage.database import Database, Reader, Tx
from homeserver.storage.oauth import Code, DeviceCode

TOKEN_CHARS_MAX = 512


class OAuthTokens:
    """Gives out tokens, exchanges them and ends them."""

    def __init__(self, db: Database, sessions: Sessions, clients: OAuthClients, grants: Grants) -> None:
        self._db = db
        self._sessions = sessions
        self._clients = clients
        self._grants = grants

    async def answer(self, form: Mapping[str, str]) -> dict[str, Any]:
        """The token endpoint. Raises OAuthError. spec: RFC 6749 section 5.2"""
        kind, client_id = _needed(form, "grant_type"), form.get("client_id", "")
        client = await self._clients.get(client_id)
        if kind not in GRANTS:
            raise OAuthError("unsupported_grant_type", "no such grant type is known here")
        if kind not in client["grant_types"]:
            raise OAuthError("unauthorized_client", "this client did not register for this grant type")
        if kind == REFRESH_GRANT:
            return await self._by_refresh(_needed(form, "refresh_token"), client_id)
        if kind == CODE_GRANT:
            return await self._by_code(form, _needed(form, "code"), client)
        _needed(form, "device_code")
        return await self._by_device_code(form, client)

    async def revoke(self, token: str) -> None:
        """Ends the session that this token, of either kind, belongs to. Nothing happens where there is none.

        One without a device, which an administrator was given, ends by itself.
        """
        if not 0 < len(token) <= TOKEN_CHARS_MAX:
            return
        digest = digest_of(token)
        holder = await tokens.holder(self._db, digest)
        owner = await tokens.refresh_owner(self._db, digest)
        if holder is not None and holder.device_id is None:
            async with self._db.transaction() as tx:
                await tokens.delete_access(tx, holder.token_nid)
            self._sessions.account_changed(holder.user_id)
        elif holder is not None and holder.device_id is not None:
            await self._sessions.end_devices(holder.user_id, [holder.device_id])
        elif owner is not None:
            await self._sessions.end_devices(owner[0], [owner[1]])

    async def devices_deleted(self, tx: Tx, user_id: UserId, device_ids: Sequence[DeviceId]) -> None:
        """Forgets what hung on the devices."""
        await oauth.delete_sessions(tx, user_id, list(device_ids))

    async def _by_code(self, form: Mapping[str, str], code: str, client: Mapping[str, Any]) -> dict[str, Any]:
        issued = replayed = None
        async with self._db.transaction() as tx:
            kept = await self._grants.take_code(tx, form)
            if kept is not None:
                issued = await self._open(tx, kept.user_id, kept, client)
            else:
                replayed = await self._grants.session_of_used(tx, code)
        if replayed is not None:
            # Somebody has this code who shouldn't: what was made with it ends. RFC 6749 section 10.5
            await self._sessions.end_devices(replayed[0], [replayed[1]])
        if kept is None or issued is None:
            raise OAuthError("invalid_grant", "this code, or what came with it, is not, or no longer, good")
        self._sessions.account_changed(kept.user_id)
        return issued

    async def _by_device_code(self, form: Mapping[str, str], client: Mapping[str, Any]) -> dict[str, Any]:
        taken = await self._grants.take_device(form)
        assert taken.user_id is not None
        async with self._db.transaction() as tx:
            issued = await self._open(tx, taken.user_id, taken, client)
        self._sessions.account_changed(taken.user_id)
        return issued

    async def _by_refresh(self, refresh_token: str, client_id: str) -> dict[str, Any]:
        digest = digest_of(refresh_token)
        owner = await tokens.refresh_owner(self._db, digest)
        stolen = await tokens.spent(self._db, digest) if owner is None else None
        if stolen is not None and await oauth.session(self._db, *stolen) is not None:
            await self._sessions.end_devices(stolen[0], [stolen[1]])
            raise OAuthError("invalid_grant", "this refresh token was used before: the session has ended")
        if owner is None:
            raise OAuthError("invalid_grant", "this refresh token is not good for this client")
        # Locking ends no session: a client that is refused here forgets its keys, and unlocking brings none back.
        await _check_usable(self._db, owner[0], even_locked=True)
        try:
            issued = await self._sessions.refresh(refresh_token, client_id=client_id)
        except UnknownToken as error:
            raise OAuthError("invalid_grant", error.message) from None
        return _shown(issued, owner[1])

    async def _open(
        self, tx: Tx, user_id: UserId, allowed: Code | DeviceCode, client: Mapping[str, Any]
    ) -> dict[str, Any]:
        await _check_usable(tx, user_id)
        try:
            issued = await self._sessions.open(
                tx,
                user_id,
                device_id=allowed.device_id,
                display_name=name_of(client),
                # Who can't refresh would be out after minutes.
                refreshable=REFRESH_GRANT in client["grant_types"],
                upstream=allowed.upstream_nid,
            )
        except (LimitExceeded, Forbidden) as error:
            raise OAuthError("invalid_grant", error.message) from None
        await oauth.set_session(tx, user_id, allowed.device_id, allowed.client_id)
        return _shown(issued, allowed.device_id)


async def _check_usable(db: Reader, user_id: UserId, *, even_locked: bool = False) -> None:
    user = await users.by_id(db, user_id)
    if user is None or user.is_deactivated or (user.is_locked and not even_locked):
        raise OAuthError("invalid_grant", "this account can't be used")


def _needed(form: Mapping[str, str], name: str) -> str:
    """Raises OAuthError (invalid_request)."""
    if not form.get(name):
        raise OAuthError("invalid_request", f"{name} is missing")
    return form[name]


def _shown(issued: Mapping[str, Any], device_id: DeviceId) -> dict[str, Any]:
    """As RFC 6749 section 5.1 has it: what isn't given is left out."""
    shown = {"access_token": issued["access_token"], "token_type": "Bearer", "scope": scope_of(device_id)}
    if "expires_in_ms" in issued:
        shown["expires_in"] = issued["expires_in_ms"] // 1000
    if "refresh_token" in issued:
        shown["refresh_token"] = issued["refresh_token"]
    return shown
