"""What we ask of other servers about rooms, each answer checked for its form only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from federation.client import FederationClient, FederationError, path_of
from homeserver.core.identifiers import EventId, RoomId, ServerName, UserId, is_event_id

Json = dict[str, Any]
STATE_BYTES_MAX = 256 * 1024 * 1024
STATE_TIMEOUT_S = 120.0


class Peers:
    """Requests by their names in the spec. Each raises Unreachable or FederationError."""

    def __init__(self, client: FederationClient) -> None:
        self._client = client

    def by_hope(self, servers: Sequence[ServerName]) -> list[ServerName]:
        """The same, those that could not be reached last at the end."""
        return sorted(servers, key=self._client.is_failing)

    async def make_membership(
        self, verb: str, server: ServerName, room_id: RoomId, user_id: UserId, versions: Sequence[str] = ()
    ) -> Json:
        """`verb`: join, knock or leave. A template of the event, with the room's version."""
        query = {"ver": list(versions)} if versions else None
        path = path_of("/_matrix/federation/v1/make_" + verb + "/{}/{}", room_id, user_id)
        return await self._client.get(server, path, query=query)

    async def send_join(self, server: ServerName, room_id: RoomId, event_id: EventId, pdu: Json) -> Json:
        """The members may be left out of the answer: we ask for them later."""
        path = path_of("/_matrix/federation/v2/send_join/{}/{}", room_id, event_id)
        return await self._client.put(
            server,
            path,
            pdu,
            query={"omit_members": "true"},
            timeout_s=STATE_TIMEOUT_S,
            response_bytes_max=STATE_BYTES_MAX,
        )

    async def send_leave(self, server: ServerName, room_id: RoomId, event_id: EventId, pdu: Json) -> None:
        await self._client.put(server, path_of("/_matrix/federation/v2/send_leave/{}/{}", room_id, event_id), pdu)

    async def send_knock(self, server: ServerName, room_id: RoomId, event_id: EventId, pdu: Json) -> Json:
        path = path_of("/_matrix/federation/v1/send_knock/{}/{}", room_id, event_id)
        return await self._client.put(server, path, pdu)

    async def invite(self, server: ServerName, room_id: RoomId, event_id: EventId, body: Json) -> Json:
        path = path_of("/_matrix/federation/v2/invite/{}/{}", room_id, event_id)
        return _object(server, await self._client.put(server, path, body), "event")

    async def missing_events(
        self,
        server: ServerName,
        room_id: RoomId,
        *,
        earliest: Sequence[EventId],
        latest: Sequence[EventId],
        limit: int,
        min_depth: int,
    ) -> list[Any]:
        body = {
            "earliest_events": list(earliest),
            "latest_events": list(latest),
            "limit": limit,
            "min_depth": min_depth,
        }
        path = path_of("/_matrix/federation/v1/get_missing_events/{}", room_id)
        return _list(server, await self._client.post(server, path, body), "events")

    async def state_ids(
        self, server: ServerName, room_id: RoomId, event_id: EventId
    ) -> tuple[list[EventId], list[EventId]]:
        """The ids of the state before an event, and those of its auth chain."""
        path = path_of("/_matrix/federation/v1/state_ids/{}", room_id)
        answer = await self._client.get(
            server, path, query={"event_id": event_id}, timeout_s=60.0, response_bytes_max=64 * 1024 * 1024
        )
        return _ids(server, answer, "pdu_ids"), _ids(server, answer, "auth_chain_ids")

    async def state(self, server: ServerName, room_id: RoomId, event_id: EventId) -> list[Any]:
        """The state before an event and its auth chain, as PDUs."""
        answer = await self._client.get(
            server,
            path_of("/_matrix/federation/v1/state/{}", room_id),
            query={"event_id": event_id},
            timeout_s=STATE_TIMEOUT_S,
            response_bytes_max=STATE_BYTES_MAX,
        )
        return [*_list(server, answer, "auth_chain"), *_list(server, answer, "pdus")]

    async def event(self, server: ServerName, event_id: EventId) -> Any:
        answer = await self._client.get(server, path_of("/_matrix/federation/v1/event/{}", event_id))
        pdus = _list(server, answer, "pdus")
        return pdus[0] if pdus else None

    async def event_auth(self, server: ServerName, room_id: RoomId, event_id: EventId) -> list[Any]:
        path = path_of("/_matrix/federation/v1/event_auth/{}/{}", room_id, event_id)
        answer = await self._client.get(server, path, response_bytes_max=64 * 1024 * 1024)
        return _list(server, answer, "auth_chain")

    async def backfill(
        self, server: ServerName, room_id: RoomId, event_ids: Sequence[EventId], limit: int
    ) -> list[Any]:
        path = path_of("/_matrix/federation/v1/backfill/{}", room_id)
        answer = await self._client.get(server, path, query={"v": list(event_ids), "limit": str(limit)})
        return _list(server, answer, "pdus")

    async def profile(self, server: ServerName, user_id: UserId) -> Json:
        return await self._client.get(
            server, "/_matrix/federation/v1/query/profile", query={"user_id": user_id}, response_bytes_max=1_000_000
        )

    async def timestamp_to_event(
        self, server: ServerName, room_id: RoomId, timestamp_ms: int, *, later: bool
    ) -> tuple[EventId, int]:
        path = path_of("/_matrix/federation/v1/timestamp_to_event/{}", room_id)
        query = {"ts": str(timestamp_ms), "dir": "f" if later else "b"}
        answer = await self._client.get(server, path, query=query)
        event_id, found_ms = answer.get("event_id"), answer.get("origin_server_ts")
        if not is_event_id(event_id) or type(found_ms) is not int:
            raise _bad(server, "event_id")
        return EventId(str(event_id)), found_ms

    async def directory(self, server: ServerName, alias: str) -> Json:
        return await self._client.get(server, "/_matrix/federation/v1/query/directory", query={"room_alias": alias})

    async def hierarchy(self, server: ServerName, room_id: RoomId) -> Json:
        path = path_of("/_matrix/federation/v1/hierarchy/{}", room_id)
        return await self._client.get(server, path, query={"suggested_only": "false"})

    async def public_rooms(self, server: ServerName, query: Mapping[str, Any]) -> Json:
        return await self._client.post(server, "/_matrix/federation/v1/publicRooms", dict(query))

    async def version(self, server: ServerName) -> Json:
        return await self._client.get(server, "/_matrix/federation/v1/version", timeout_s=10.0)


def _bad(server: ServerName, key: str) -> FederationError:
    return FederationError(server, 200, "M_BAD_JSON", f"{key} isn't what it should be")


def _list(server: ServerName, answer: Json, key: str) -> list[Any]:
    value = answer.get(key)
    if not isinstance(value, list):
        raise _bad(server, key)
    return value


def _ids(server: ServerName, answer: Json, key: str) -> list[EventId]:
    return [EventId(value) for value in _list(server, answer, key) if isinstance(value, str)]


def _object(server: ServerName, answer: Json, key: str) -> Json:
    value = answer.get(key)
    if not isinstance(value, dict):
        raise _bad(server, key)
    return value
