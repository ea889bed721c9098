"""Transactions of other servers. spec: server-server-api/#transactions"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from federation.intake import RoomIntake
from federation.outside import OutsideRooms
from federation.pdu_checks import PduChecks
from federation.room_access import RoomAccess
from homeserver.core.errors import BadJson, MatrixError, NotFound
from homeserver.core.events import Event
from homeserver.core.identifiers import RoomId, ServerName, is_event_id, is_room_id
from homeserver.rooms.residents import Room
from homeserver.runtime.clock import Clock
from homeserver.storage.staged_pdus import StagedPdu
from homeserver.web.endpoint import Access, Json, endpoint

PDUS_MAX = 50
EDUS_MAX = 100
BODY_BYTES_MAX = 10 * 1024 * 1024
REMEMBERED_MAX = 5_000
UNCONNECTED = "too many events of this room, or of your server, wait for a past that isn't to be had"


class EduIntake(Protocol):
    """What takes ephemeral data in."""

    async def take(self, origin: ServerName, edus: Sequence[Any]) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PduSide:
    """Where PDUs go."""

    access: RoomAccess
    checks: PduChecks
    intake: RoomIntake
    outside: OutsideRooms


class Transactions:
    """Takes in what other servers send."""

    def __init__(self, pdus: PduSide, edus: EduIntake, clock: Clock) -> None:
        self._access = pdus.access
        self._checks = pdus.checks
        self._intake = pdus.intake
        self._outside = pdus.outside
        self._edus = edus
        self._clock = clock
        self._answers: OrderedDict[tuple[ServerName, str], Json] = OrderedDict()

    @endpoint(
        "PUT",
        "/_matrix/federation/v1/send/{txn_id}",
        access=Access.SERVER,
        body_bytes_max=BODY_BYTES_MAX,
        spec="server-server-api/#put_matrixfederationv1sendtxnid",
    )
    async def send(self, origin: ServerName, txn_id: str, body: Json) -> Json:
        known = self._answers.get((origin, txn_id))
        if known is not None:
            return known
        pdus, edus = body.get("pdus", []), body.get("edus", [])
        if not isinstance(pdus, list) or not isinstance(edus, list):
            raise BadJson("pdus and edus must be lists")
        if len(pdus) > PDUS_MAX or len(edus) > EDUS_MAX:
            raise BadJson(f"a transaction may have {PDUS_MAX} PDUs and {EDUS_MAX} EDUs")
        if pdus:
            # The whole of it comes again: nothing of it was looked at.
            await self._intake.backlog.check_server(origin)
        answer: Json = {"pdus": await self._take_pdus(origin, pdus)}
        await self._edus.take(origin, edus)
        self._answers[origin, txn_id] = answer
        if len(self._answers) > REMEMBERED_MAX:
            self._answers.popitem(last=False)
        return answer

    async def _take_pdus(self, origin: ServerName, pdus: Sequence[Any]) -> Json:
        by_room: dict[RoomId, list[Any]] = {}
        for pdu in pdus:
            room_id = pdu.get("room_id") if isinstance(pdu, dict) else None
            # One without a place to go to can't even be named in the answer.
            if isinstance(room_id, str) and is_room_id(room_id):
                by_room.setdefault(RoomId(room_id), []).append(pdu)
        answer: Json = {}
        staged: list[StagedPdu] = []
        for room_id, of_room in by_room.items():
            try:
                room = await self._access.open_room(room_id, origin)
                await self._intake.backlog.check_room(room_id, origin)
            except NotFound as error:
                await self._outside.take(room_id, of_room)
                # Of which version the room is isn't known, so only events that bear their ids can be named.
                names = [pdu.get("event_id") for pdu in of_room]
                answer.update({name: {"error": error.message} for name in names if is_event_id(name)})
                continue
            except MatrixError as error:
                answer.update(await self._refused(room_id, [(pdu, error.message) for pdu in of_room]))
                continue
            staged += await self._check(room, of_room, origin, answer)
        await self._intake.stage(staged)
        return answer

    async def _check(
        self, room: Room, pdus: Sequence[Mapping[str, Any]], origin: ServerName, answer: Json
    ) -> list[StagedPdu]:
        now_ms = self._clock.now_ms()
        staged, refused, events = [], [], []
        for pdu, checked in zip(pdus, await self._checks.check(room.version, pdus), strict=True):
            if isinstance(checked, Event):
                answer[checked.event_id] = {}
                events.append(checked)
                staged.append(
                    StagedPdu(
                        room_id=room.room_id,
                        event_id=checked.event_id,
                        origin=origin,
                        received_ms=now_ms,
                        json=checked.canonical,
                    )
                )
            else:
                refused.append((pdu, str(checked)))
        answer.update(await self._refused(room.room_id, refused))
        if events and not await self._intake.backlog.takes_unconnected(room.room_id, origin):
            taken = await self._intake.connected(room, staged, events)
            left = {pdu.event_id for pdu in staged} - {pdu.event_id for pdu in taken}
            answer.update({name: {"error": UNCONNECTED} for name in left})
            return taken
        return staged

    async def _refused(self, room_id: RoomId, refused: Sequence[tuple[Mapping[str, Any], str]]) -> Json:
        """What the answer says of events that weren't taken, with the reason of each, as far as they have a name."""
        room = await self._access.known_room(room_id) if refused else None
        if room is None:
            return {}
        names = await self._checks.names(room.version, [pdu for pdu, _ in refused])
        return {name: {"error": reason} for name, (_, reason) in zip(names, refused, strict=True) if name is not None}
