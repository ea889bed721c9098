"""A new password: by the old one, or by a confirmed e-mail address for whoever forgot it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from homeserver.accounts.email_stage import EmailProofs
from homeserver.accounts.sessions import Sessions
from homeserver.accounts.uia import EMAIL, Flow, Uia
from homeserver.accounts.users import Users
from homeserver.core.errors import Forbidden, MissingToken
from homeserver.core.identifiers import DeviceId, UserId

_OPERATION = "account/password"


class PasswordChange:
    """Leads through a change of password."""

    def __init__(self, users: Users, sessions: Sessions, uia: Uia, proofs: EmailProofs) -> None:
        self._users = users
        self._sessions = sessions
        self._uia = uia
        self._proofs = proofs

    async def by_user(
        self,
        user_id: UserId,
        device_id: DeviceId | None,
        new_password: str,
        auth: Mapping[str, Any] | None,
        *,
        logout_devices: bool,
    ) -> None:
        """For somebody who is logged in. Raises Challenge, WeakPassword, Forbidden."""
        await self._check_ours(user_id)
        self._users.check_new_password(new_password)
        more: list[Flow] = [(EMAIL,)] if self._proofs.are_possible else []
        done = await self._uia.require_owner(_OPERATION, auth, user_id, more=more)
        if EMAIL in done:
            await self._proofs.use_for_password(done[EMAIL])
        await self._users.set_password(user_id, new_password)
        if logout_devices:
            await self._sessions.end_all(user_id, but=device_id)

    async def by_mail(self, new_password: str, auth: Mapping[str, Any] | None, *, logout_devices: bool) -> None:
        """For somebody who isn't: the account is the one that the confirmed address belongs to.

        Raises Challenge, WeakPassword, NoProof; MissingToken where no mail is sent, Forbidden.
        """
        if not self._proofs.are_possible:
            raise MissingToken("an access token is needed")
        self._users.check_new_password(new_password)
        done = await self._uia.require(_OPERATION, auth, [(EMAIL,)])
        await self._by_proof(done[EMAIL], new_password, logout_devices=logout_devices)

    async def by_page(self, new_password: str, credentials: Mapping[str, str], *, logout_devices: bool) -> UserId:
        """The same on a page of ours, by the sid and client_secret of a mail. Whose password it was.

        Raises WeakPassword, InvalidParam, NoProof, Forbidden.
        """
        self._users.check_new_password(new_password)
        sid = await self._proofs.stage({"threepid_creds": credentials}, _OPERATION, None)
        return await self._by_proof(sid, new_password, logout_devices=logout_devices)

    async def _by_proof(self, sid: str, new_password: str, *, logout_devices: bool) -> UserId:
        user_id = await self._proofs.use_for_password(sid)
        await self._check_ours(user_id)
        await self._users.set_password(user_id, new_password)
        if logout_devices:
            await self._sessions.end_all(user_id)
        return user_id

    async def _check_ours(self, user_id: UserId) -> None:
        if await self._users.is_kept_elsewhere(user_id):
            raise Forbidden("this password is changed where it is kept: in the directory of this server's people")
