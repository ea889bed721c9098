"""Calls over MatrixRTC: what carries them, and leave to use it. spec: MSC4143, MSC4195, unstable prefixes"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from homeserver.accounts.calls import ROOM_CALL, Calls, Proof
from homeserver.core.errors import MissingParam, UnknownToken
from homeserver.core.identifiers import parse_room_id, parse_server_name
from homeserver.web.endpoint import Access, Json, endpoint

SERVICE_PATH = "/_matrix/livekit/jwt"

Short = Annotated[str, msgspec.Meta(max_length=512)]


class OpenIdProof(msgspec.Struct, frozen=True):
    access_token: Short
    matrix_server_name: Short


class Member(msgspec.Struct, frozen=True):
    id: Short
    claimed_user_id: Short
    claimed_device_id: Short


class OlderTokenBody(msgspec.Struct, frozen=True):
    room: str
    openid_token: OpenIdProof
    device_id: Short = ""


class TokenBody(msgspec.Struct, frozen=True):
    room_id: str
    slot_id: Short
    openid_token: OpenIdProof
    member: Member


class Transports:
    """What carries calls here. It isn't served where nothing does: an empty list misleads clients."""

    def __init__(self, transports: list[dict[str, Any]]) -> None:
        self._transports = transports

    @endpoint(
        "GET",
        "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports",
        "/_matrix/client/v1/rtc/transports",
        access=Access.GUEST,
        spec="client-server-api/#voice-over-ip",
    )
    async def transports(self) -> Json:
        return {"rtc_transports": self._transports}


class CallTokens:
    """The service that clients ask for a LiveKit token, in both forms of its protocol."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    @endpoint(
        "POST",
        SERVICE_PATH + "/sfu/get",
        access=Access.NONE,
        limit="call_token",
        spec="client-server-api/#voice-over-ip",
    )
    async def older(self, body: OlderTokenBody) -> Json:
        if not body.device_id:
            raise MissingParam("the field device_id is missing")
        proof = _proof(body.openid_token)
        return await self._calls.token(parse_room_id(body.room), ROOM_CALL, proof, identity=body.device_id, member=None)

    @endpoint(
        "POST",
        SERVICE_PATH + "/get_token",
        access=Access.NONE,
        limit="call_token",
        spec="client-server-api/#voice-over-ip",
    )
    async def token(self, body: TokenBody) -> Json:
        member = (body.member.claimed_user_id, body.member.claimed_device_id, body.member.id)
        proof = _proof(body.openid_token)
        return await self._calls.token(parse_room_id(body.room_id), body.slot_id, proof, identity=None, member=member)

    @endpoint("GET", SERVICE_PATH + "/healthz", access=Access.NONE, spec="client-server-api/#voice-over-ip")
    async def health(self) -> Json:
        return {}


def _proof(given: OpenIdProof) -> Proof:
    if not given.access_token:
        raise UnknownToken("the OpenID token is empty")
    return Proof(given.access_token, parse_server_name(given.matrix_server_name))
