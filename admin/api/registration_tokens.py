"""Registration tokens: /_synapse/admin/v1/registration_tokens."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from admin.actions.registration_tokens import LENGTH_DEFAULT, LENGTH_MAX, RegistrationTokens
from homeserver.core.operators import Permission
from homeserver.storage.registration_tokens import TokenRow
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_TOKENS = "/_synapse/admin/v1/registration_tokens"


class ValidQuery(msgspec.Struct, frozen=True):
    valid: bool | None = None


class NewBody(msgspec.Struct, frozen=True):
    token: str | None = None
    uses_allowed: int | None = None
    expiry_time: int | None = None
    length: Annotated[int, msgspec.Meta(ge=1, le=LENGTH_MAX)] = LENGTH_DEFAULT


class ChangeBody(msgspec.Struct, frozen=True):
    uses_allowed: int | msgspec.UnsetType | None = msgspec.UNSET
    expiry_time: int | msgspec.UnsetType | None = msgspec.UNSET


class RegistrationTokenEndpoints:
    """Listed, made, changed, deleted."""

    def __init__(self, tokens: RegistrationTokens) -> None:
        self._tokens = tokens

    @endpoint("GET", _TOKENS, access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_TOKENS)
    async def all_of_them(self, query: ValidQuery) -> Json:
        return {"registration_tokens": [_shown(row) for row in await self._tokens.all_of_them(query.valid)]}

    @endpoint(
        "POST", _TOKENS + "/new", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_TOKENS
    )
    async def make(self, operator: Operator, body: NewBody) -> Json:
        row = await self._tokens.make(
            body.token,
            uses_allowed=body.uses_allowed,
            expires_ts=body.expiry_time,
            length=body.length,
            by=operator,
        )
        return _shown(row)

    @endpoint(
        "GET", _TOKENS + "/{token}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.READ_TOKENS
    )
    async def one(self, token: str) -> Json:
        return _shown(await self._tokens.one(token))

    @endpoint(
        "PUT", _TOKENS + "/{token}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_TOKENS
    )
    async def change(self, operator: Operator, token: str, body: ChangeBody) -> Json:
        changes: dict[str, Any] = {}
        if body.uses_allowed is not msgspec.UNSET:
            changes["uses_allowed"] = body.uses_allowed
        if body.expiry_time is not msgspec.UNSET:
            changes["expires_ts"] = body.expiry_time
        return _shown(await self._tokens.change(token, changes, by=operator))

    @endpoint(
        "DELETE", _TOKENS + "/{token}", access=Access.ADMIN, reach=Reach.SERVER, spec="", needs=Permission.CHANGE_TOKENS
    )
    async def delete(self, operator: Operator, token: str) -> Json:
        await self._tokens.delete(token, by=operator)
        return {}


def _shown(row: TokenRow) -> dict[str, Any]:
    return {
        "token": row.token,
        "uses_allowed": row.uses_allowed,
        # A use is counted when the account is made, so none is ever pending.
        "pending": 0,
        "completed": row.completed,
        "expiry_time": row.expires_ts,
    }
