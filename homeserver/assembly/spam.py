"""Spam rules, plugged into everything that they look at."""

from __future__ import annotations

from dataclasses import dataclass

from admin.spam.book import RuleBook
from admin.spam.engine import SpamEngine
from admin.spam.engine import World as SpamWorld
from admin.spam.gate import SpamGate
from admin.spam.sanctions import Reach, Sanctions
from admin.spam.surroundings import Surroundings
from homeserver.assembly.base import Base
from homeserver.assembly.rooms import RoomParts


@dataclass(frozen=True, slots=True, kw_only=True)
class SpamParts:
    """The rules in force, who asks them, and what they can do."""

    book: RuleBook
    engine: SpamEngine
    gate: SpamGate
    sanctions: Sanctions


async def build_spam(base: Base, parts: RoomParts) -> SpamParts:
    """Before anybody can write, so that nothing passes unseen."""
    world = base.world
    book = RuleBook(world.db, world.clock)
    await book.start()
    around = Surroundings(world.db, parts.rooms, world.clock, base.server_name)
    engine = SpamEngine(SpamWorld(world.db, world.clock, world.randomness), book, around)
    reach = Reach(server_name=base.server_name, outgoing=base.outgoing)
    sanctions = Sanctions(world.db, parts.rooms, parts.writer, world.clock, reach)
    gate = SpamGate(world.db, engine, sanctions, world.clock, base.tasks)
    parts.journal.listen(around.hear)
    parts.journal.listen(gate.hear)
    parts.policy.add(gate)
    parts.incoming.screen = gate
    base.tasks.forever(engine.run, name="spam_decisions")
    return SpamParts(book=book, engine=engine, gate=gate, sanctions=sanctions)
