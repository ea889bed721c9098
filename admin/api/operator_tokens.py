"""Tokens for operators' programs: /_hansa/admin/v1/tokens."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from admin.actions.operator_tokens import OperatorTokens
from homeserver.core.errors import NotFound
from homeserver.core.operators import Permission
from homeserver.storage.operator_tokens import OperatorToken
from homeserver.web.endpoint import Access, Json, Operator, Reach, endpoint

_TOKENS = "/_hansa/admin/v1/tokens"
_MONTH_S = 30 * 24 * 3_600


class NewTokenBody(msgspec.Struct, frozen=True):
    name: str
    scopes: Annotated[list[Permission], msgspec.Meta(max_length=100)]
    expires_in_s: int = _MONTH_S
    rooms: Annotated[list[str], msgspec.Meta(max_length=1_000)] | None = None  # these alone, of the operator's


class TokensQuery(msgspec.Struct, frozen=True):
    everybodys: bool = False


class OperatorTokenEndpoints:
    """Made, listed, ended."""

    def __init__(self, tokens: OperatorTokens) -> None:
        self._tokens = tokens

    @endpoint("GET", _TOKENS, access=Access.ADMIN, reach=Reach.NONE, spec="", needs=Permission.OWN_TOKENS)
    async def some(self, operator: Operator, query: TokensQuery) -> Json:
        found = await self._tokens.some(everybodys=query.everybodys, by=operator)
        return {"tokens": [_shown(token) for token in found]}

    @endpoint("POST", _TOKENS, access=Access.ADMIN, reach=Reach.NONE, spec="", needs=Permission.OWN_TOKENS)
    async def make(self, operator: Operator, body: NewTokenBody) -> Json:
        token, kept = await self._tokens.make(body.name, body.scopes, body.expires_in_s, by=operator, rooms=body.rooms)
        return {"token": token, **_shown(kept)}

    @endpoint(
        "DELETE", _TOKENS + "/{token_id}", access=Access.ADMIN, reach=Reach.NONE, spec="", needs=Permission.OWN_TOKENS
    )
    async def end(self, operator: Operator, token_id: str) -> Json:
        if not (token_id.isascii() and token_id.isdigit() and len(token_id) < 19):
            raise NotFound("there is no such token")
        await self._tokens.end(int(token_id), by=operator)
        return {}


def _shown(token: OperatorToken) -> dict[str, Any]:
    return {
        "id": str(token.token_nid),
        "user_id": token.user_id,
        "name": token.name,
        "scopes": sorted(token.scopes),
        "created_ts": token.created_ts,
        "expires_ts": token.expires_ts,
        "rooms": sorted(token.rooms) if token.rooms is not None else None,
    }
