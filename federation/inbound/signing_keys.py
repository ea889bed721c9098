"""Our own keys, and those of others that we vouch for. spec: server-server-api/#retrieving-server-keys"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from federation.keys.own import OwnKeys
from federation.keys.ring import Keys
from federation.server_access import ServerAccess
from homeserver.core.errors import InvalidParam, TooLarge
from homeserver.core.identifiers import ServerName, is_server_name
from homeserver.core.signing import Signer
from homeserver.runtime.clock import Clock
from homeserver.web.endpoint import Access, Json, endpoint

SERVERS_PER_QUERY_MAX = 100
_TIME_MAX = 2**53 - 1


class KeyQuery(msgspec.Struct, frozen=True):
    minimum_valid_until_ts: int | None = None


class KeyCriteria(msgspec.Struct, frozen=True):
    minimum_valid_until_ts: int | None = None


class KeyQueries(msgspec.Struct, frozen=True):
    server_keys: dict[str, dict[str, KeyCriteria]]


class SigningKeyEndpoints:
    """Nobody has to sign these requests: keys are what signatures are checked with."""

    def __init__(self, own: OwnKeys, keys: Keys, access: ServerAccess, signer: Signer, clock: Clock) -> None:
        self._own = own
        self._keys = keys
        self._access = access
        self._signer = signer
        self._clock = clock

    @endpoint(
        "GET",
        "/_matrix/key/v2/server",
        access=Access.NONE,
        spec="server-server-api/#get_matrixkeyv2server",
    )
    async def own(self) -> Json:
        return self._own.document()

    @endpoint(
        "GET",
        "/_matrix/key/v2/server/{key_id}",
        access=Access.NONE,
        spec="server-server-api/#get_matrixkeyv2server",
    )
    async def own_by_id(self, key_id: str) -> Json:
        """The older form, which named a key: the answer has always been all of them."""
        return self._own.document()

    @endpoint(
        "GET",
        "/_matrix/key/v2/query/{server_name}",
        access=Access.NONE,
        limit="federation_keys",
        spec="server-server-api/#get_matrixkeyv2queryservername",
    )
    async def query(self, server_name: ServerName, query: KeyQuery) -> Json:
        return await self._vouched({server_name: self._minimum([query.minimum_valid_until_ts])})

    @endpoint(
        "POST",
        "/_matrix/key/v2/query",
        access=Access.NONE,
        limit="federation_keys",
        spec="server-server-api/#post_matrixkeyv2query",
    )
    async def query_many(self, body: KeyQueries) -> Json:
        if len(body.server_keys) > SERVERS_PER_QUERY_MAX:
            raise TooLarge(f"ask for at most {SERVERS_PER_QUERY_MAX} servers at once")
        if not all(map(is_server_name, body.server_keys)):
            raise InvalidParam("server_keys must be keyed by server names")
        return await self._vouched(
            {
                ServerName(server): self._minimum([wish.minimum_valid_until_ts for wish in wishes.values()])
                for server, wishes in body.server_keys.items()
            }
        )

    def _minimum(self, wished: list[int | None]) -> int:
        now_ms = self._clock.now_ms()
        return max((min(wish, _TIME_MAX) if wish is not None else now_ms for wish in wished), default=now_ms)

    async def _vouched(self, wanted: Mapping[ServerName, int]) -> Json:
        allowed = {
            server: until_ms
            for server, until_ms in wanted.items()
            if server == self._signer.server_name or self._access.may_talk_with(server)
        }
        documents = await self._keys.documents(allowed)
        return {"server_keys": [self._signer.sign_json(dict(document)) for document in documents]}
