"""The only place that extends a room. One writer a room at a time; it takes all commands that wait as one batch."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar
from uuid import UUID

from homeserver.core.errors import NotFound, Unavailable
from homeserver.core.events import Draft, Event
from homeserver.core.identifiers import DeviceId, EventId, RoomAlias, RoomId, UserId
from homeserver.core.room_versions import RoomVersion
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.building import Built, Made, Sender, WriteSteps
from homeserver.rooms.committer import Committer, RepeatedTransactions
from homeserver.rooms.residents import Room, Rooms
from homeserver.runtime.tasks import Tasks
from homeserver.storage.room_aliases import AliasRow

T = TypeVar("T")

BATCH_DRAFTS_MAX = 100
WAITING_PER_ROOM_MAX = 2_000
TRANSACTIONS_REMEMBERED_MAX = 100_000


@dataclass(frozen=True, slots=True)
class Transaction:
    """A client's transaction id: the same device repeating it on the same path gets the same event.

    `scope` tells paths apart: room, kind of request, event type.
    """

    user_id: UserId
    device_id: DeviceId | None
    txn_id: str
    scope: str

    @property
    def key(self) -> UUID:
        parts = "\x00".join((self.user_id, self.device_id or "", self.scope, self.txn_id))
        return UUID(bytes=hashlib.sha256(parts.encode("utf-8", "surrogatepass")).digest()[:16])


@dataclass(frozen=True, slots=True)
class NewAlias:
    """An alias that a room is made with. Whoever asks for it knows that it is free."""

    alias: RoomAlias
    creator: UserId


@dataclass(slots=True, eq=False)
class _Turn:
    """Work of another kind on a room: nothing else is written to it meanwhile."""

    work: Callable[[], Awaitable[None]]
    done: asyncio.Future[None]

    drafts: Sequence[Draft] = ()

    def refuse(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True, eq=False)
class _Command:
    drafts: Sequence[Draft]
    sender: Sender | None
    done: asyncio.Future[list[Event]]

    def answer(self, events: list[Event]) -> None:
        if not self.done.done():
            self.done.set_result(events)

    def refuse(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


class RoomWriter:
    """Extends rooms with drafts, durably.

    `gather` is asked to let as many of a room's ends as one event may cite have their say in its state, where they
    haven't: what is made then cites them. It is called in the room's turn.
    """

    gather: Callable[[RoomId], Awaitable[object]] | None = None

    def __init__(self, rooms: Rooms, steps: WriteSteps, committer: Committer, journal: Journal, tasks: Tasks) -> None:
        self._rooms = rooms
        self._steps = steps
        self._committer = committer
        self._journal = journal
        self._tasks = tasks
        self._waiting: dict[RoomId, list[_Command | _Turn]] = {}
        self._writing: set[asyncio.Task[object] | None] = set()
        self._recent: OrderedDict[UUID, EventId] = OrderedDict()

    async def send(self, room_id: RoomId, draft: Draft, transaction: Transaction | None = None) -> Event:
        """The event that this draft became; the same one as before for a repeated transaction.

        Raises NotFound for a room that isn't here, Forbidden where the auth rules refuse, TooLarge and MatrixError for
        an event that can't be, Unavailable when the database is away.
        """
        sender = None
        if transaction is not None:
            sender = Sender(transaction.device_id, transaction.txn_id, transaction.key)
        return (await self._enqueue(room_id, [draft], sender))[0]

    async def answered(self, transaction: Transaction) -> Event | None:
        """What the same request became a short time ago, as far as memory has it."""
        event_id = self._recent.get(transaction.key)
        return await self._rooms.event(event_id) if event_id is not None else None

    async def send_all(self, room_id: RoomId, drafts: Sequence[Draft]) -> list[Event]:
        """The events of these drafts, written together, or none of them. Raises as `send`."""
        return await self._enqueue(room_id, drafts, None)

    async def create(
        self,
        version: RoomVersion,
        room_id: RoomId | None,
        drafts: Sequence[Draft],
        *,
        is_published: bool = False,
        alias: NewAlias | None = None,
    ) -> Room:
        """A new room of these drafts, the create event first. `room_id` is None where the create event gives it.

        Its place in the directory and its alias are written with it, or nothing is.
        """
        head, made = self._steps.make_new(version, room_id, drafts)
        if made.refusal is not None:
            raise made.refusal
        position = await self._journal.open(len(drafts))
        entries: Sequence[Entry] = ()
        try:
            built = await self._steps.build(None, head, [(made, None)], position, {})
            assert built.batch.new_room is not None
            built.batch.new_room = replace(built.batch.new_room, is_published=is_published)
            if alias is not None:
                built.batch.alias = AliasRow(alias.alias, built.room.room_id, alias.creator)
            entries = await self._commit(built)
        finally:
            self._journal.close(position, entries)
        return built.room

    async def propose(self, room_id: RoomId, draft: Draft) -> Event:
        """The event that this draft would become now, signed by us; nothing is written.

        For events that another server has a part in. Raises as `send`.
        """
        room = await self._rooms.get(room_id)
        if room is None:
            raise NotFound("this server doesn't know the room")
        _, _, made = await self._steps.make(room, [[draft]])
        if made[0].refusal is not None:
            raise made[0].refusal
        return made[0].events[0]

    async def exclusively(self, room_id: RoomId, work: Callable[[], Awaitable[T]]) -> T:
        """What `work` returns, which may write to this room: nobody else does while it runs.

        For events of other servers (`rooms.incoming`). Raises what `work` raises, and Unavailable.
        """
        result: list[T] = []

        async def run() -> None:
            result.append(await work())

        turn = _Turn(run, asyncio.get_running_loop().create_future())
        self._queue(room_id, turn)
        await turn.done
        return result[0]

    def committed(self, built: Built) -> None:
        """Brings memory up to what somebody else committed in their turn."""
        self._steps.committed(built)

    async def _enqueue(self, room_id: RoomId, drafts: Sequence[Draft], sender: Sender | None) -> list[Event]:
        done: asyncio.Future[list[Event]] = asyncio.get_running_loop().create_future()
        self._queue(room_id, _Command(drafts, sender, done))
        return await done

    def _queue(self, room_id: RoomId, command: _Command | _Turn) -> None:
        assert asyncio.current_task() not in self._writing, "who has a room's turn waits for no turn"
        waiting = self._waiting.get(room_id)
        if waiting is None:
            self._waiting[room_id] = [command]
            self._tasks.start(self._write_room(room_id), name="room_writer")
        elif len(waiting) >= WAITING_PER_ROOM_MAX:
            raise Unavailable("this room is being written to faster than it can take")
        else:
            waiting.append(command)

    async def _write_room(self, room_id: RoomId) -> None:
        """Batch after batch until nothing waits; then the room has no writer."""
        self._rooms.pin(room_id)
        self._writing.add(asyncio.current_task())
        try:
            while self._waiting[room_id]:
                first = self._waiting[room_id][0]
                if isinstance(first, _Turn):
                    del self._waiting[room_id][0]
                    await _run_turn(first)
                    continue
                taken = self._take(room_id)
                try:
                    await self._write_batch(room_id, taken)
                except Exception as error:
                    for command in taken:
                        command.refuse(error)
        finally:
            for left in self._waiting.pop(room_id):
                left.refuse(Unavailable("the server is stopping"))
            self._rooms.unpin(room_id)
            self._writing.discard(asyncio.current_task())

    def _take(self, room_id: RoomId) -> list[_Command]:
        waiting = self._waiting[room_id]
        taken: list[_Command] = []
        size = 0
        for waits in waiting:
            size += len(waits.drafts)
            if isinstance(waits, _Turn) or (taken and size > BATCH_DRAFTS_MAX):
                break
            taken.append(waits)
        self._waiting[room_id] = waiting[len(taken) :]
        return taken

    async def _write_batch(self, room_id: RoomId, taken: list[_Command]) -> None:
        room = await self._rooms.get(room_id)
        if room is not None and not room.head.is_gathered and self.gather is not None:
            await self.gather(room_id)
            room = await self._rooms.get(room_id)
        if room is None:
            raise NotFound("this server doesn't know the room")
        fresh = await self._answer_repeats(taken)
        while fresh:
            try:
                await self._write(room, fresh)
                return
            except RepeatedTransactions as repeats:
                for key, event_id in repeats.event_ids.items():
                    self._remember(key, event_id)
                still = await self._answer_repeats(fresh)
                if len(still) == len(fresh):
                    raise Unavailable("a transaction id is in use") from None
                fresh = still

    async def _answer_repeats(self, commands: list[_Command]) -> list[_Command]:
        """Answers those whose transaction was done before, lets twins share one answer; gives the others."""
        fresh: list[_Command] = []
        first_of: dict[UUID, _Command] = {}
        for command in commands:
            key = command.sender.key if command.sender else None
            if key is None:
                fresh.append(command)
            elif key in self._recent:
                event = await self._rooms.event(self._recent[key])
                if event is None:
                    command.refuse(NotFound("the event is gone"))
                else:
                    command.answer([event])
            elif key in first_of:
                first_of[key].done.add_done_callback(_same_answer(command))
            else:
                first_of[key] = command
                fresh.append(command)
        return fresh

    async def _write(self, room: Room, commands: list[_Command]) -> None:
        room, head, made = await self._steps.make(room, [command.drafts for command in commands])
        new = sum(len(result.new) for result in made)
        if new:
            targets = await self._steps.targets([draft for command in commands for draft in command.drafts])
            senders = [command.sender for command in commands]
            position = await self._journal.open(new)
            entries: Sequence[Entry] = ()
            try:
                built = await self._steps.build(room, head, list(zip(made, senders, strict=True)), position, targets)
                entries = await self._commit(built)
            finally:
                self._journal.close(position, entries)
        for command, result in zip(commands, made, strict=True):
            self._settle(command, result)

    def _settle(self, command: _Command, made: Made) -> None:
        if made.refusal is not None:
            command.refuse(made.refusal)
            return
        if command.sender is not None:
            self._remember(command.sender.key, made.events[0].event_id)
        command.answer(made.events)

    async def _commit(self, built: Built) -> list[Entry]:
        try:
            await self._committer.commit(built.batch)
        except Unavailable:
            self._rooms.drop(built.room.room_id)  # it may have been written all the same: read it again
            raise
        self._steps.committed(built)
        return [Entry(written.stored.nid, "event", built.room.room_id, (), written) for written in built.written]

    def _remember(self, key: UUID, event_id: EventId) -> None:
        self._recent[key] = event_id
        if len(self._recent) > TRANSACTIONS_REMEMBERED_MAX:
            self._recent.popitem(last=False)


async def _run_turn(turn: _Turn) -> None:
    try:
        await turn.work()
    except Exception as error:
        turn.refuse(error)
    else:
        if not turn.done.done():
            turn.done.set_result(None)


def _same_answer(command: _Command) -> Callable[[asyncio.Future[list[Event]]], None]:
    """Lets a command have the answer of its twin."""

    def answer(twin: asyncio.Future[list[Event]]) -> None:
        error = twin.exception()
        if error is None:
            command.answer(twin.result())
        elif isinstance(error, Exception):
            command.refuse(error)

    return answer
