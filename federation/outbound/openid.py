"""Asking other servers whose OpenID token one is. spec: server-server-api/#openid"""

from __future__ import annotations

from federation.client import FederationClient
from homeserver.core.errors import MatrixError, RemoteFault, UnknownToken
from homeserver.core.identifiers import ServerName, UserId, parse_user_id

_ANSWER_BYTES_MAX = 4_096
_ASK_S = 10.0


class RemoteOpenId:
    """Implements `TokensOfOthers` of accounts.calls."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    async def holder(self, server: ServerName, token: str) -> UserId:
        """What the server says. Raises UnknownToken."""
        try:
            answer = await self._client.get(
                server,
                "/_matrix/federation/v1/openid/userinfo",
                query={"access_token": token},
                timeout_s=_ASK_S,
                response_bytes_max=_ANSWER_BYTES_MAX,
            )
            return parse_user_id(answer.get("sub"))
        except (RemoteFault, MatrixError):
            raise UnknownToken("the server that this token names doesn't vouch for it") from None
