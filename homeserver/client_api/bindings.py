"""Addresses at identity servers. spec: client-server-api/#adding-account-administrative-contact-information"""

from __future__ import annotations

import msgspec

from homeserver.accounts.bindings import Bindings
from homeserver.accounts.contacts import canonical
from homeserver.accounts.email_validation import check_secret, check_sid
from homeserver.web.endpoint import Access, Caller, Json, endpoint

_V3, _R0 = "/_matrix/client/v3", "/_matrix/client/r0"
_SPEC = "client-server-api/#post_matrixclientv3account3pid"


class BindBody(msgspec.Struct, frozen=True):
    client_secret: str
    id_server: str
    id_access_token: str
    sid: str


class UnbindBody(msgspec.Struct, frozen=True):
    medium: str
    address: str
    id_server: str | None = None


class BindingEndpoints:
    """POST /account/3pid/bind, /account/3pid/unbind and /account/3pid/delete."""

    def __init__(self, bindings: Bindings) -> None:
        self._bindings = bindings

    @endpoint(
        "POST",
        _V3 + "/account/3pid/bind",
        _R0 + "/account/3pid/bind",
        access=Access.USER,
        limit="contacts",
        spec=_SPEC + "bind",
    )
    async def bind(self, caller: Caller, body: BindBody) -> Json:
        check_secret(body.client_secret)
        check_sid(body.sid)
        await self._bindings.bind(
            caller.user_id, body.id_server, body.id_access_token, sid=body.sid, client_secret=body.client_secret
        )
        return {}

    @endpoint(
        "POST",
        _V3 + "/account/3pid/unbind",
        _R0 + "/account/3pid/unbind",
        access=Access.USER,
        limit="contacts",
        spec=_SPEC + "unbind",
    )
    async def unbind(self, caller: Caller, body: UnbindBody) -> Json:
        address = canonical(body.medium, body.address)
        done = await self._bindings.unbind(caller.user_id, body.medium, address, body.id_server)
        return {"id_server_unbind_result": "success" if done else "no-support"}

    @endpoint(
        "POST",
        _V3 + "/account/3pid/delete",
        _R0 + "/account/3pid/delete",
        access=Access.USER,
        limit="contacts",
        while_suspended=False,
        spec=_SPEC + "delete",
    )
    async def delete(self, caller: Caller, body: UnbindBody) -> Json:
        done = await self._bindings.remove(caller.user_id, body.medium, body.address, body.id_server)
        return {"id_server_unbind_result": "success" if done else "no-support"}
