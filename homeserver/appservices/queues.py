"""All queues, one for each application service that wants to be told; they come and go with the registrations."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace

from homeserver.appservices.beside_events import BesideEvents, BesideSources
from homeserver.appservices.interest import Interest
from homeserver.appservices.outside import Outside
from homeserver.appservices.queue import Queue, QueueTools, without_events_of
from homeserver.appservices.registration import Registration
from homeserver.appservices.shared_rooms import SharedRooms
from homeserver.core.identifiers import ServerName, UserId
from homeserver.journal.journal import Entry, Journal
from homeserver.rooms.residents import Rooms
from homeserver.runtime.tasks import Tasks
from homeserver.storage import appservices


class Queues:
    """Starts, feeds and ends queues. `hear` is a journal listener; it hands on to the event log after the queues."""

    def __init__(
        self,
        journal: Journal,
        rooms: Rooms,
        sources: BesideSources,
        tools: QueueTools,
        tasks: Tasks,
        server_name: ServerName,
    ) -> None:
        self._journal = journal
        self._rooms = rooms
        self._sources = sources
        self._tools = tools
        self._tasks = tasks
        self._server_name = server_name
        self._running: dict[str, tuple[Queue, asyncio.Task[None]]] = {}

    def hear(self, entries: Sequence[Entry]) -> None:
        for queue, _ in self._running.values():
            queue.hear(entries)
        self._tools.event_log.hear(entries)

    async def replace(self, services: Iterable[Registration]) -> None:
        """Runs a queue for each of these, anew where the registration is another, and no others."""
        wanted = {service.id: service for service in services if service.url is not None}
        for appservice_id, (queue, _) in list(self._running.items()):
            if wanted.get(appservice_id) != queue.service:
                await self._end(appservice_id)
        for service in wanted.values():
            if service.id not in self._running:
                await self._begin(service)

    def shows_life(self, appservice_id: str) -> None:
        running = self._running.get(appservice_id)
        if running is not None:
            running[0].shows_life()

    async def forget(self, user_id: UserId) -> int:
        """Takes what a user said out of all that waits; how many events that were."""
        count = sum([await queue.forget(user_id) for queue, _ in list(self._running.values())])
        # Of services that are registered no more.
        for appservice_id, row in await appservices.pending_naming(self._tools.db, user_id):
            if appservice_id in self._running or row.pending is None:
                continue
            body, found = without_events_of(row.pending.body, user_id)
            if found:
                async with self._tools.db.transaction() as tx:
                    pending = replace(row.pending, body=body)
                    await appservices.put_queue(tx, appservice_id, replace(row, pending=pending))
                count += found
        return count

    async def scrub(self) -> None:
        """What waits lies in the database alone."""

    async def stop(self) -> None:
        for appservice_id in list(self._running):
            await self._end(appservice_id)

    async def _begin(self, service: Registration) -> None:
        interest = Interest(service, self._sources.db, self._rooms, self._server_name)
        shared = SharedRooms(interest, self._sources.db, self._rooms)
        beside = BesideEvents(service, interest, shared, self._sources)
        outside = Outside(interest, self._sources.db, self._server_name)
        queue = Queue(service, interest, outside, beside, self._tools)
        await queue.start()
        self._journal.follow(f"appservice {service.id}", lambda: queue.position)
        self._running[service.id] = (queue, self._tasks.forever(queue.run, name="appservice"))

    async def _end(self, appservice_id: str) -> None:
        queue, task = self._running.pop(appservice_id)
        self._journal.unfollow(f"appservice {appservice_id}")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await queue.stop()
