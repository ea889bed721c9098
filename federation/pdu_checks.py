"""The first checks of an event of another server: form, hash, signatures.

spec: server-server-api/#checks-performed-on-receipt-of-a-pdu (1 to 3)
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from federation.keys.ring import Keys, Signed, Verdict
from homeserver.core import canonical_json
from homeserver.core.auth_rules import required_signers
from homeserver.core.errors import InvalidEvent
from homeserver.core.events import Event, parse_pdu, signed_form
from homeserver.core.identifiers import EventId, ServerName, domain_of, is_event_id
from homeserver.core.room_versions import EventIdFormat, RoomVersion

# More events than this are parsed in a thread: about 5 ms of work.
_INLINE_MAX = 20
# Of so many servers at most the keys are waited for in one room.
AWAITED_MAX = 1_000

Checked = Event | str
"""The event, or why it is none."""


class Uncheckable(str):
    """Why it can't be said whether it is one: its key can't be had just now, though it may be another time."""


def awaited(pdus: Sequence[Any], checked: Sequence[Checked]) -> dict[ServerName, bytes]:
    """One of these each of the servers whose keys couldn't be had, so that it can be tried again."""
    found: dict[ServerName, bytes] = {}
    for pdu, one in zip(pdus, checked, strict=True):
        if isinstance(one, Uncheckable) and len(found) < AWAITED_MAX:
            found.setdefault(domain_of(pdu["sender"]), canonical_json.encode(pdu))
    return found


class PduChecks:
    """Turns PDUs into events that their senders' servers really signed."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def check(self, version: RoomVersion, pdus: Sequence[Any]) -> list[Checked]:
        """For each PDU the event, redacted where its hash is wrong, or what is wrong with it.

        Keys are fetched once for each server, signatures are checked in threads.
        """
        if len(pdus) > _INLINE_MAX:
            parsed, wanted, owners = await asyncio.to_thread(_parse_all, version, pdus)
        else:
            parsed, wanted, owners = _parse_all(version, pdus)
        verdicts = await self._keys.verify(wanted) if wanted else []
        for index, signed, verdict in zip(owners, wanted, verdicts, strict=True):
            if verdict is not Verdict.VALID and isinstance(parsed[index], Event):
                why = f"the signature of {signed.server_name} is {verdict.value}"
                parsed[index] = Uncheckable(why) if verdict is Verdict.KEY_UNKNOWN else why
        return parsed

    async def names(self, version: RoomVersion, pdus: Sequence[Any]) -> list[EventId | None]:
        """The ids of PDUs, whoever signed them; None for what is not formed so that it can have one."""
        return await asyncio.to_thread(lambda: [_name(version, pdu) for pdu in pdus])

    async def check_one(self, version: RoomVersion, pdu: Any) -> Checked:
        return (await self.check(version, [pdu]))[0]


def _parse_all(version: RoomVersion, pdus: Sequence[Any]) -> tuple[list[Checked], list[Signed], list[int]]:
    """The events, the signatures that they need, and the event's place in the list for each of these."""
    parsed = [_parse(version, pdu) for pdu in pdus]
    wanted: list[Signed] = []
    owners: list[int] = []
    for index, event in enumerate(parsed):
        if isinstance(event, Event):
            for signed in _signatures(event):
                wanted.append(signed)
                owners.append(index)
    return parsed, wanted, owners


def _parse(version: RoomVersion, pdu: Any) -> Checked:
    try:
        return parse_pdu(version, pdu)
    except InvalidEvent as error:
        return str(error)


def _name(version: RoomVersion, pdu: Any) -> EventId | None:
    event = _parse(version, pdu)
    if isinstance(event, Event):
        return event.event_id
    says = pdu.get("event_id") if version.event_id_format is EventIdFormat.IN_EVENT else None
    # Answers are kept: a name of any size would be kept with them.
    return EventId(str(says)) if is_event_id(says) else None


def _signatures(event: Event) -> list[Signed]:
    message = signed_form(event.version, event.pdu)
    valid_at = event.origin_server_ts if event.version.key_validity_enforced else None
    signatures = event.pdu["signatures"]
    return [
        Signed(ServerName(name), message, signatures.get(name, {}), valid_at_ms=valid_at)
        for name in required_signers(event)
    ]
