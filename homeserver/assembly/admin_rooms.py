"""Administration of rooms, and the jobs that long work is done as."""

from __future__ import annotations

from dataclasses import dataclass

from admin.actions.four_eyes import FourEyes
from admin.actions.room_deletion import RoomDeletion
from admin.actions.room_moderation import RoomModeration
from admin.actions.room_reading import OpenGate
from admin.actions.room_retention import RoomRetention
from admin.actions.room_tools import RoomTools
from admin.actions.rooms import RoomActions
from admin.api.jobs import JobEndpoints
from admin.api.room_changes import RoomChanges, RoomDeletions
from admin.api.room_content import RoomContent
from admin.api.rooms import RoomLists
from admin.audit import AuditLog
from admin.jobs import Jobs
from admin.room_hand import RoomHand
from admin.room_overviews import REBUILD, RoomOverviews
from admin.totals import Totals
from homeserver.assembly.base import Base
from homeserver.assembly.commands import CommandParts
from homeserver.assembly.rooms import RoomParts
from homeserver.rooms.commands.create import RoomCreation
from homeserver.rooms.history import History
from homeserver.rooms.purging import Purging
from homeserver.rooms.views import RoomViews


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminRoomParts:
    """What pages use of it, and the endpoints."""

    jobs: Jobs
    overviews: RoomOverviews
    history: History
    views: RoomViews
    actions: RoomActions
    deletion: RoomDeletion
    creation: RoomCreation
    hand: RoomModeration
    retention: RoomRetention
    endpoints: list[object]


async def build_admin_rooms(
    base: Base, parts: RoomParts, commands: CommandParts, audit: AuditLog, four_eyes: FourEyes
) -> AdminRoomParts:
    """Begins to keep the overview of rooms too: call it before anybody can write."""
    world, db = base.world, base.world.db
    jobs = Jobs(db, audit, base.tasks, world.clock, world.randomness)
    overviews = RoomOverviews(db, parts.journal, parts.rooms, world.clock, base.server_name)
    base.keepers["room_overviews"] = overviews
    await overviews.start()
    await parts.blocked.load()
    base.tasks.forever(overviews.run, name="room_overviews")
    jobs.provide(REBUILD, overviews.rebuild)
    tools = RoomTools(
        db=db,
        clock=world.clock,
        audit=audit,
        rooms=parts.rooms,
        writer=parts.writer,
        submission=parts.submission,
        membership=commands.membership,
        aliases=commands.aliases,
        blocked=parts.blocked,
    )
    history = History(db, parts.rooms, parts.store, OpenGate())
    views = RoomViews(parts.client_events, parts.store, parts.numbers, history)
    actions = RoomActions(tools)
    purging = Purging(db, parts.journal, parts.rooms, parts.store, parts.writer)
    deletion = RoomDeletion(tools, four_eyes, jobs, commands.creation, purging)
    hand = RoomHand(parts.rooms, parts.writer, world.clock, base.server_name)
    return AdminRoomParts(
        jobs=jobs,
        overviews=overviews,
        history=history,
        views=views,
        actions=actions,
        deletion=deletion,
        creation=commands.creation,
        hand=RoomModeration(tools, hand, parts.store),
        retention=RoomRetention(tools, hand),
        endpoints=[
            RoomLists(db, parts.rooms, views, Totals(base.world.clock)),
            RoomContent(history, parts.rooms, parts.store, views),
            RoomChanges(db, actions),
            RoomDeletions(deletion, jobs),
            JobEndpoints(jobs),
        ],
    )
