"""Messages to devices: kept until the device has them, each once. spec: client-server-api/#send-to-device-messaging"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from homeserver.core import canonical_json
from homeserver.core.errors import InvalidParam, MatrixError, TooLarge
from homeserver.core.identifiers import DeviceId, ServerName, UserId, domain_of
from homeserver.journal.journal import Journal, JournalWrite
from homeserver.ports import AbuseCheck
from homeserver.runtime.clock import Clock
from homeserver.storage import outgoing_to_device, to_device
from homeserver.storage.database import Database, Tx
from homeserver.storage.outgoing_to_device import Outgoing
from homeserver.storage.to_device import Addressed

MESSAGES_PER_REQUEST_MAX = 10_000
MESSAGE_BYTES_MAX = 65_536
# What a request may come to once `*` stands for each device.
REQUEST_BYTES_MAX = 32 * 1024 * 1024
# What may wait for one device. Past it the oldest go: who never syncs doesn't fill the disk.
PENDING_PER_DEVICE_MAX = 20_000
PENDING_BYTES_MAX = 32 * 1024 * 1024
# A queue is looked at again once so much more was put into it.
_LOOK_AFTER_MESSAGES = 100
_LOOK_AFTER_BYTES = 1024 * 1024
_GROWTHS_MAX = 50_000
ALL_DEVICES = "*"
OUTGOING_BYTES_MAX = 4 * 1024 * 1024
OUTGOING_PER_SERVER_MAX = 50_000
_REMEMBER_MS = 7 * 24 * 3600 * 1000


class ToDevice:
    """Takes messages for devices and hands them to their syncs."""

    abuse: AbuseCheck | None = None

    def __init__(self, db: Database, journal: Journal, clock: Clock, server_name: ServerName) -> None:
        self._db = db
        self._journal = journal
        self._clock = clock
        self._server_name = server_name
        # How much each queue has grown since it was looked at: none of the queues is counted with each message.
        self._grown: OrderedDict[tuple[UserId, DeviceId], tuple[int, int]] = OrderedDict()

    async def send(
        self,
        sender: UserId,
        device_id: DeviceId | None,
        kind: str,
        txn_id: str,
        messages: Mapping[UserId, Mapping[str, dict[str, Any]]],
    ) -> None:
        """Sends once per transaction id. Devices that don't exist are passed over.

        Raises InvalidParam, MatrixError (M_TOO_LARGE). Four statements, however many recipients.
        """
        if self.abuse is not None:
            await self.abuse.check("to_device", sender, size=sum(map(len, messages.values())))
        addressed = await self._addressed(sender, kind, messages)
        async with self._journal.write() as write:
            now = self._clock.now_ms()
            if not await to_device.begin(write.tx, sender, device_id or DeviceId(""), txn_id, now):
                return
            await self._put(write, addressed)
            if outgoing := list(self._outgoing(sender, kind, messages, write.position)):
                await outgoing_to_device.insert(write.tx, outgoing, write.position)
                write.publish("outgoing_to_device", payload=frozenset(message.server_name for message in outgoing))

    async def receive(
        self,
        sender: UserId,
        kind: str,
        messages: Mapping[UserId, Mapping[str, dict[str, Any]]],
        *,
        begin: Callable[[Tx], Awaitable[bool]],
    ) -> None:
        """Takes messages of a user of another server. `begin`, in the same transaction, says whether they are new.

        Raises InvalidParam, TooLarge. Durable when it returns.
        """
        addressed = await self._addressed(sender, kind, messages)
        if not addressed:  # nothing would come twice, so nothing is remembered
            return
        async with self._journal.write() as write:
            if await begin(write.tx):
                await self._put(write, addressed)

    async def _put(self, write: JournalWrite, addressed: Sequence[Addressed]) -> None:
        if not addressed:
            return
        await to_device.insert(write.tx, addressed, write.position)
        if due := self._due(addressed):
            await to_device.trim(write.tx, due, PENDING_PER_DEVICE_MAX, PENDING_BYTES_MAX)
        write.publish("to_device", user_ids=sorted({message.user_id for message in addressed}))

    async def _addressed(
        self, sender: UserId, kind: str, messages: Mapping[UserId, Mapping[str, dict[str, Any]]]
    ) -> list[Addressed]:
        """What goes to which devices of ours."""
        if sum(len(by_device) for by_device in messages.values()) > MESSAGES_PER_REQUEST_MAX:
            raise InvalidParam(f"at most {MESSAGES_PER_REQUEST_MAX} messages can be sent at once")
        local = {user: found for user, found in messages.items() if domain_of(user) == self._server_name}
        encoded = {
            user: {device: _encode(sender, kind, content) for device, content in found.items()}
            for user, found in local.items()
        }
        devices = await to_device.devices_of(self._db, list(encoded))
        addressed = [
            Addressed(user, device, message)
            for user, found in encoded.items()
            for target, message in found.items()
            for device in (devices.get(user, set()) if target == ALL_DEVICES else {DeviceId(target)})
            if device in devices.get(user, set())
        ]
        if len(addressed) > MESSAGES_PER_REQUEST_MAX:
            raise InvalidParam(f"at most {MESSAGES_PER_REQUEST_MAX} messages can be sent at once")
        if sum(len(message.message) for message in addressed) > REQUEST_BYTES_MAX:
            raise TooLarge(f"the messages of one request may have {REQUEST_BYTES_MAX} bytes")
        return addressed

    def _outgoing(
        self,
        sender: UserId,
        kind: str,
        messages: Mapping[UserId, Mapping[str, dict[str, Any]]],
        position: int,
    ) -> Iterator[Outgoing]:
        """What goes to other servers: one for each user there, so that none grows without bound.

        Raises BadJson for what isn't canonical JSON, TooLarge.
        """
        for number, (user, by_device) in enumerate(messages.items()):
            server = domain_of(user)
            if server == self._server_name or not by_device:
                continue
            for content in by_device.values():
                _encode(sender, kind, content)
                # Servers that check what they get would refuse all that is sent along with it.
                canonical_json.check_values(content)
            edu = {
                "sender": sender,
                "type": kind,
                "message_id": f"{position}_{number}",
                "messages": {user: dict(by_device)},
            }
            encoded = canonical_json.encode(edu)
            if len(encoded) > OUTGOING_BYTES_MAX:
                raise TooLarge(f"the messages to one user may have {OUTGOING_BYTES_MAX} bytes")
            yield Outgoing(server, encoded)

    def _due(self, addressed: Sequence[Addressed]) -> list[tuple[UserId, DeviceId]]:
        """The queues among these that must be looked at: they have grown, or nobody has looked since the start."""
        due: set[tuple[UserId, DeviceId]] = set()
        for message in addressed:
            queue = (message.user_id, message.device_id)
            count, size = self._grown.pop(queue, (_LOOK_AFTER_MESSAGES, 0))
            count, size = count + 1, size + len(message.message)
            if count > _LOOK_AFTER_MESSAGES or size > _LOOK_AFTER_BYTES:
                due.add(queue)
                count = size = 0
            self._grown[queue] = (count, size)
        while len(self._grown) > _GROWTHS_MAX:
            self._grown.popitem(last=False)
        return sorted(due)

    async def pending(
        self, user_id: UserId, device_id: DeviceId, since: int, upto: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """The oldest messages in (since, upto], and the position up to which they go.

        Never ends within a position: so it may give more than `limit` where one request sent a device several.
        """
        found = await to_device.pending(self._db, user_id, device_id, since, upto, limit + 1)
        if len(found) > limit:
            last = found[limit - 1][0]
            whole = [entry for entry in found if entry[0] < found[limit][0]]
            if not whole:  # one position has more than `limit`
                whole = await to_device.pending(self._db, user_id, device_id, since, last, MESSAGES_PER_REQUEST_MAX)
            return [canonical_json.decode(message) for _, message in whole], whole[-1][0]
        return [canonical_json.decode(message) for _, message in found], upto

    async def acknowledge(self, user_id: UserId, device_id: DeviceId, upto: int) -> None:
        """Deletes what the device has."""
        async with self._db.transaction() as tx:
            await to_device.delete_upto(tx, user_id, device_id, upto)

    async def forget_transactions(self) -> None:
        """Runs as a task: once an hour forgets transaction ids that nobody repeats any more."""
        await self._clock.sleep(3600)
        async with self._db.transaction() as tx:
            await to_device.forget_transactions(tx, self._clock.now_ms() - _REMEMBER_MS)
            await outgoing_to_device.trim(tx, OUTGOING_PER_SERVER_MAX)


def _encode(sender: UserId, kind: str, content: dict[str, Any]) -> bytes:
    if not isinstance(content, dict):
        raise InvalidParam("a message's content must be an object")
    message = canonical_json.encode({"sender": sender, "type": kind, "content": content})
    if len(message) > MESSAGE_BYTES_MAX:
        raise MatrixError(f"a message may have {MESSAGE_BYTES_MAX} bytes", errcode="M_TOO_LARGE", status=413)
    return message
