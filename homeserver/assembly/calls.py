"""Calls: what carries them, and the service that lets users in."""

from __future__ import annotations

from typing import Any

from homeserver.accounts.calls import Calls, CallWorld, TokensOfOthers, livekit_of
from homeserver.accounts.openid import OpenIdTokens
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts
from homeserver.client_api.calls import SERVICE_PATH, CallTokens, Transports
from homeserver.config import Config
from homeserver.web.addresses import AddressFilter
from homeserver.web.outgoing import OutgoingClient


def transports_of(config: Config) -> list[dict[str, Any]]:
    """What clients are told: in the well-known file, and by the endpoint that follows it."""
    service = config.rtc.livekit_service_url
    if service is None and livekit_of(config.rtc) is not None:
        service = config.base_url.rstrip("/") + SERVICE_PATH
    return [{"type": "livekit", "livekit_service_url": service.rstrip("/")}] if service is not None else []


class CallParts:
    """The endpoints, and the way to LiveKit: the operator named it, so it may be on a private address."""

    def __init__(self, base: Base, rooms: RoomParts, own: OpenIdTokens, others: TokensOfOthers) -> None:
        transports = transports_of(base.config)
        self.endpoints: list[object] = [Transports(transports)] if transports else []
        self._outgoing: OutgoingClient | None = None
        livekit = livekit_of(base.config.rtc)
        if livekit is not None:
            self._outgoing = OutgoingClient(AddressFilter(deny=()), ca_path=base.config.federation.ca_path)
            world = CallWorld(base.world.clock, base.world.outgoing or self._outgoing, base.server_name)
            self.endpoints.append(CallTokens(Calls(livekit, own, others, rooms.rooms, world)))

    async def close(self) -> None:
        if self._outgoing is not None:
            await self._outgoing.close()
