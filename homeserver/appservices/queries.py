"""What application services are asked: whether a user or an alias is theirs, and what their networks hold.

spec: application-service-api/#querying, #third-party-networks
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from homeserver.appservices.client import AppserviceClient
from homeserver.appservices.registration import Registration
from homeserver.appservices.registry import Registry
from homeserver.core.errors import MissingToken, UnknownToken
from homeserver.core.identifiers import RoomAlias, UserId

ENTRIES_MAX = 1_000
_NEW, _OLD = "/_matrix/app/v1/", "/_matrix/app/unstable/"


class Bridges:
    """Implements ports.Bridges and ports.ThirdPartyNetworks over all application services."""

    def __init__(self, registry: Registry, client: AppserviceClient) -> None:
        self._registry = registry
        self._client = client

    def check_user(self, user_id: UserId) -> None:
        self._registry.check_user(user_id)

    def check_alias(self, alias: RoomAlias, user_id: UserId) -> None:
        self._registry.check_alias(alias, user_id)

    def check_own(self, token: str | None, user_id: UserId) -> None:
        if not token:
            raise MissingToken("the token of an application service is needed")
        service = self._registry.by_token(token)
        if service is None:
            raise UnknownToken("this is no application service's token")
        self._registry.check_user(user_id, service.id)

    def owns_alias(self, alias: RoomAlias, user_id: UserId) -> bool:
        name = self._registry.server_name
        return any(one.has_alias(alias) and one.may_be(user_id, name) for one in self._registry.services)

    async def find_user(self, user_id: UserId) -> bool:
        """Asks the services whose namespace this is, one after the other, until one has made the user."""
        name = self._registry.server_name
        owners = [one for one in self._registry.services if one.sender != user_id and one.may_be(user_id, name)]
        return await self._any(owners, "users", user_id)

    async def find_alias(self, alias: RoomAlias) -> bool:
        """The same for a room."""
        return await self._any([one for one in self._registry.services if one.has_alias(alias)], "rooms", alias)

    async def _any(self, owners: list[Registration], kind: str, name: str) -> bool:
        path = f"{kind}/{quote(name, safe='')}"
        for one in owners:
            if (await self._client.ask(one, _NEW + path, f"/{path}")).is_good:
                return True
        return False

    # --- networks

    async def protocols(self) -> Mapping[str, Any]:
        asked = [(one, protocol) for one in self._registry.services for protocol in one.protocols]
        described: dict[str, dict[str, Any]] = {}
        answers = await asyncio.gather(*(self._describe(one, protocol) for one, protocol in asked))
        for (_, protocol), answer in zip(asked, answers, strict=True):
            if answer is None:
                continue
            known = described.setdefault(protocol, {**answer, "instances": []})
            known["instances"] += answer["instances"]
        return described

    async def _describe(self, service: Registration, protocol: str) -> dict[str, Any] | None:
        path = f"thirdparty/protocol/{quote(protocol, safe='')}"
        answer = await self._client.ask(service, _NEW + path, _OLD + path)
        if not answer.is_good or not isinstance(answer.content, dict):
            return None
        instances = [
            # Which room directory it is. spec: client-server-api/#get_matrixclientv3thirdpartyprotocols
            {**instance, "instance_id": f"{service.id}|{instance.get('network_id')}"}
            for instance in _objects(answer.content.get("instances"))
        ]
        return {**answer.content, "instances": instances}

    async def find(self, kind: str, protocol: str | None, fields: Mapping[str, str]) -> list[dict[str, Any]]:
        """Entries of `kind` ("user" or "location") from all services that have the protocol, or any."""
        path = f"thirdparty/{kind}" + (f"/{quote(protocol, safe='')}" if protocol is not None else "")
        services = [one for one in self._registry.services if one.protocols and protocol in (None, *one.protocols)]
        answers = await asyncio.gather(
            *(self._client.ask(one, _NEW + path, _OLD + path, query=fields) for one in services)
        )
        found = [entry for answer in answers if answer.is_good for entry in _objects(answer.content)]
        return found[:ENTRIES_MAX]


def _objects(content: object) -> list[dict[str, Any]]:
    return [entry for entry in content if isinstance(entry, dict)] if isinstance(content, list) else []
