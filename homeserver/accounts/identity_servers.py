"""Asking identity servers that users name. spec: identity-service-api

What they answer is data: it is checked before it is used, and none of it reaches our user but an error code.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

import orjson

from homeserver.core import canonical_json
from homeserver.core.errors import MatrixError
from homeserver.core.identifiers import RoomId, UserId, is_user_id, parse_server_name
from homeserver.core.signing import Signer
from homeserver.web.outgoing import Outgoing, OutgoingError

TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 65_536
TOKEN_CHARS_MAX = 1_024
_BASE = "/_matrix/identity/v2"


class IdentityFault(MatrixError):
    """The identity server gives no usable answer."""

    errcode, status = "M_UNKNOWN", 502


class IdentityServers:
    """A client of identity servers."""

    def __init__(self, outgoing: Outgoing, signer: Signer) -> None:
        self._outgoing = outgoing
        self._signer = signer

    async def bind(self, server: str, token: str, *, sid: str, client_secret: str, user_id: UserId) -> tuple[str, str]:
        """Has the server say that a proved address is the user's: medium and address. Raises MatrixError."""
        body = {"sid": sid, "client_secret": client_secret, "mxid": user_id}
        answer = await self._call(server, "POST", "/3pid/bind", token, body)
        medium, address = answer.get("medium"), answer.get("address")
        if medium not in ("email", "msisdn") or not isinstance(address, str) or not 0 < len(address) <= 255:
            raise IdentityFault("the identity server's answer can't be used")
        return medium, address

    async def unbind(self, server: str, *, user_id: UserId, medium: str, address: str) -> bool:
        """Has the server forget it, signed by us. False where it doesn't do that."""
        parse_server_name(server)
        body = {"mxid": user_id, "threepid": {"medium": medium, "address": address}}
        path = _BASE + "/3pid/unbind"
        try:
            answer = await self._outgoing.request(
                "POST",
                f"https://{server}{path}",
                headers={"Content-Type": "application/json", "Authorization": self._signed(server, path, body)},
                body=canonical_json.encode(body),
                timeout_s=TIMEOUT_S,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
        except OutgoingError:
            return False
        return answer.status == 200

    async def lookup(self, server: str, token: str, medium: str, address: str) -> UserId | None:
        """Whose address it is, asked by its hash. Raises MatrixError."""
        details = await self._call(server, "GET", "/hash_details", token)
        pepper, algorithms = details.get("lookup_pepper"), details.get("algorithms")
        if not isinstance(pepper, str) or not isinstance(algorithms, list) or len(pepper) > 1_024:
            raise IdentityFault("the identity server's answer can't be used")
        if "sha256" in algorithms:
            digest = hashlib.sha256(f"{address} {medium} {pepper}".encode()).digest()
            asked, algorithm = base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), "sha256"
        else:
            raise IdentityFault("the identity server can't be asked by hashes")
        body = {"addresses": [asked], "algorithm": algorithm, "pepper": pepper}
        found = (await self._call(server, "POST", "/lookup", token, body)).get("mappings")
        user_id = found.get(asked) if isinstance(found, dict) else None
        return UserId(user_id) if isinstance(user_id, str) and is_user_id(user_id) else None

    async def store_invite(
        self, server: str, token: str, *, address: str, room_id: RoomId, sender: UserId, told: Mapping[str, str]
    ) -> dict[str, Any]:
        """Keeps an invite until the address is somebody's: token, public_keys, display_name. Raises MatrixError."""
        body = {**told, "medium": "email", "address": address, "room_id": room_id, "sender": sender}
        return await self._call(server, "POST", "/store-invite", token, body)

    async def is_key_valid(self, url: str, public_key: str) -> bool:
        """Whether the identity server behind this URL still stands by a key."""
        if not url.startswith("https://") or len(url) > 2_000:
            return False
        separator = "&" if "?" in url else "?"
        try:
            answer = await self._outgoing.request(
                "GET",
                f"{url}{separator}{urlencode({'public_key': public_key})}",
                timeout_s=TIMEOUT_S,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
            verdict = orjson.loads(answer.body)
        except (OutgoingError, orjson.JSONDecodeError):
            return False
        return answer.status == 200 and isinstance(verdict, dict) and verdict.get("valid") is True

    async def _call(
        self, server: str, method: str, path: str, token: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        parse_server_name(server)
        if not 0 < len(token) <= TOKEN_CHARS_MAX or any(char <= " " or char > "~" for char in token):
            raise MatrixError("id_access_token is missing, or none", errcode="M_INVALID_PARAM")
        try:
            answer = await self._outgoing.request(
                method,
                f"https://{server}{_BASE}{path}",
                headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
                body=orjson.dumps(body) if body is not None else None,
                timeout_s=TIMEOUT_S,
                response_bytes_max=ANSWER_BYTES_MAX,
            )
            said = orjson.loads(answer.body)
        except (OutgoingError, orjson.JSONDecodeError):
            raise IdentityFault("the identity server gives no answer") from None
        if not isinstance(said, dict):
            raise IdentityFault("the identity server's answer can't be used")
        if answer.status != 200:
            raise MatrixError("the identity server refused", errcode=_error_code(said), status=403)
        return said

    def _signed(self, server: str, path: str, content: Mapping[str, Any]) -> str:
        """spec: server-server-api/#request-authentication"""
        request = {
            "method": "POST",
            "uri": path,
            "origin": self._signer.server_name,
            "destination": server,
            "content": content,
        }
        signature = self._signer.signature(canonical_json.encode(request))
        return (
            f'X-Matrix origin="{self._signer.server_name}",destination="{server}",'
            f'key="{quote(self._signer.key_id, safe=":")}",sig="{signature}"'
        )


def _error_code(said: Mapping[str, Any]) -> str:
    """The code of a refusal, if it is one that clients of ours may act on."""
    code = said.get("errcode")
    known = {"M_TERMS_NOT_SIGNED", "M_SESSION_NOT_VALIDATED", "M_NO_VALID_SESSION", "M_SESSION_EXPIRED"}
    return code if isinstance(code, str) and code in known else "M_FORBIDDEN"
