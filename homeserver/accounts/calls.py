"""Who may use the server's LiveKit for which call: the authorisation service of MSC4195, built in.

A user proves who they are by an OpenID token, of this server or another; who is in the room gets a token for the call.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit, urlunsplit

import orjson
import structlog

from homeserver.config.schema import Rtc
from homeserver.core.errors import Forbidden, MatrixError, UnknownToken
from homeserver.core.identifiers import RoomId, ServerName, UserId, domain_of
from homeserver.runtime.clock import Clock
from homeserver.web.outgoing import Outgoing, OutgoingError

log = structlog.get_logger()

TOKEN_LIFETIME_S = 3_600
# The one call of a room, as clients name it that don't name a slot.
ROOM_CALL = "m.call#ROOM"
EMPTY_TIMEOUT_S = 300
DEPARTURE_TIMEOUT_S = 20
_ASK_S = 5.0
_ANSWER_BYTES_MAX = 65_536


class OwnTokens(Protocol):
    """Whose an OpenID token of this server is. Implemented by accounts.openid."""

    async def holder(self, token: str) -> UserId: ...


class TokensOfOthers(Protocol):
    """Whose an OpenID token of another server is. Implemented by federation."""

    async def holder(self, server: ServerName, token: str) -> UserId:
        """What the server says. Raises UnknownToken."""
        ...


class NoOtherServers:
    """Where there is no federation."""

    async def holder(self, server: ServerName, token: str) -> UserId:
        raise UnknownToken(f"{server} can't be asked")


class Members(Protocol):
    async def membership(self, room_id: RoomId, user_id: UserId) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Proof:
    """An OpenID token as its user was given it."""

    access_token: str
    matrix_server_name: str


@dataclass(frozen=True, slots=True)
class LiveKit:
    """The media server, and what we share with it."""

    url: str
    api_url: str
    key: str
    secret: str


def livekit_of(config: Rtc) -> LiveKit | None:
    """The media server that tokens can be made for, if one is configured."""
    if config.livekit_url is None or config.livekit_key is None or config.livekit_secret is None:
        return None
    api_url = config.livekit_api_url or _http_of(config.livekit_url)
    return LiveKit(config.livekit_url, api_url.rstrip("/"), config.livekit_key, config.livekit_secret.reveal())


class Calls:
    """Makes tokens for LiveKit."""

    def __init__(
        self, livekit: LiveKit, own: OwnTokens, others: TokensOfOthers, members: Members, world: CallWorld
    ) -> None:
        self._livekit = livekit
        self._own = own
        self._others = others
        self._members = members
        self._clock = world.clock
        self._outgoing = world.outgoing
        self._server_name = world.server_name

    async def token(
        self, room_id: RoomId, slot_id: str, proof: Proof, *, identity: str | None, member: tuple[str, str, str] | None
    ) -> dict[str, str]:
        """`url` and `jwt` for a call of a room. Raises UnknownToken, Forbidden, MatrixError (502) without LiveKit.

        `identity` is the device, for clients of the older kind; `member` is (claimed user, device, member id).
        """
        user_id = await self._prove(proof)
        if member is not None and member[0] != user_id:
            raise UnknownToken("the token is not this member's")
        if await self._members.membership(room_id, user_id) != "join":
            raise Forbidden("only who is in the room may join its call")
        alias = digest(room_id, slot_id)
        name = f"{user_id}:{identity}" if member is None else digest(user_id, *member[1:])
        if domain_of(user_id) == self._server_name:
            await self._make_room(alias)
        rights = ("roomJoin", "canPublish", "canSubscribe", "canUpdateOwnMetadata")
        grant = {"room": alias, "roomCreate": False, **dict.fromkeys(rights, True)}
        return {"url": self._livekit.url, "jwt": livekit_token(self._livekit, self._clock.now_ms(), grant, name)}

    async def _prove(self, proof: Proof) -> UserId:
        if proof.matrix_server_name == self._server_name:
            return await self._own.holder(proof.access_token)
        server = ServerName(proof.matrix_server_name)
        user_id = await self._others.holder(server, proof.access_token)
        if domain_of(user_id) != server:
            raise UnknownToken("this token is not of the server that it names")
        return user_id

    async def _make_room(self, alias: str) -> None:
        """Has LiveKit make the call's room, which it does once. Users of other servers can only join one."""
        body = {"name": alias, "empty_timeout": EMPTY_TIMEOUT_S, "departure_timeout": DEPARTURE_TIMEOUT_S}
        headers = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {livekit_token(self._livekit, self._clock.now_ms(), {'roomCreate': True})}",
        }
        try:
            answer = await self._outgoing.request(
                "POST",
                f"{self._livekit.api_url}/twirp/livekit.RoomService/CreateRoom",
                headers=headers,
                body=orjson.dumps(body),
                timeout_s=_ASK_S,
                response_bytes_max=_ANSWER_BYTES_MAX,
            )
        except OutgoingError as error:
            log.warning("livekit_unreachable", reason=error.reason)
            raise MatrixError("the media server for calls can't be reached", status=502) from None
        if answer.status != 200:
            log.warning("livekit_refuses", status=answer.status)
            raise MatrixError("the media server for calls refuses", status=502)


@dataclass(frozen=True, slots=True)
class CallWorld:
    """The clock, the way to LiveKit, and our name."""

    clock: Clock
    outgoing: Outgoing
    server_name: ServerName


def livekit_token(livekit: LiveKit, now_ms: int, grant: dict[str, Any], identity: str | None = None) -> str:
    """What LiveKit lets somebody in with: for an hour, and for what the grant says."""
    claims: dict[str, Any] = {
        "iss": livekit.key,
        "nbf": now_ms // 1000 - 10,
        "exp": now_ms // 1000 + TOKEN_LIFETIME_S,
        "video": grant,
    }
    if identity is not None:
        claims["sub"] = identity
    signed = b".".join(_base64url(orjson.dumps(part)) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    code = hmac.new(livekit.secret.encode(), signed, hashlib.sha256).digest()
    return (signed + b"." + _base64url(code)).decode()


def digest(*parts: str) -> str:
    """A name that tells strangers nothing, and that every service makes alike."""
    return base64.b64encode(hashlib.sha256(orjson.dumps(parts)).digest()).rstrip(b"=").decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _http_of(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(scheme={"ws": "http", "wss": "https"}.get(parts.scheme, parts.scheme)))
