"""How the index stands: which generation answers, how far it is, what it wouldn't take."""

from __future__ import annotations

from dataclasses import dataclass

from homeserver.storage import journal_cursors
from homeserver.storage.database import Reader
from search import storage as letters
from search.tiers import TierFault
from search.upkeep import storage
from search.upkeep.counting import CountedTier
from search.upkeep.rebuilding import Engine

LETTERS_SHOWN = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexStatus:
    """`events` is None, with `problem`, where the index can't be read; `health` is of the cluster, empty
    where there is none, or none answers; `built` is the part that is done of the next
    generation, from 0 to 1, and None where none is on its way."""

    engine: str
    generation: int
    events: int | None
    problem: str
    health: str
    events_behind: int
    dead_letters: int
    newest_letters: list[tuple[str, str, int]]
    repairs_waiting: int
    built: float | None


async def status_of(db: Reader, engine: Engine, tier: CountedTier) -> IndexStatus:
    """Seven queries, and two to the index."""
    known = await storage.generations(db, engine.name)
    live = storage.live_number(known)
    consumer = engine.consumer(live)
    position = await journal_cursors.position(db, consumer) or 0
    events, problem, health = None, "", ""
    try:
        health = await tier.health()
        events = await tier.count()
    except TierFault as fault:
        problem = str(fault)
    return IndexStatus(
        engine=engine.name,
        generation=live,
        events=events,
        problem=problem,
        health=health,
        events_behind=await storage.behind(db, position),
        dead_letters=await letters.count_letters(db, consumer),
        newest_letters=await letters.letters(db, consumer, LETTERS_SHOWN),
        repairs_waiting=await storage.count_repairs(db, engine.name),
        built=await built(db, engine),
    )


async def built(db: Reader, engine: Engine) -> float | None:
    """The part that is done of the generation on its way; None where none is."""
    known = await storage.generations(db, engine.name)
    coming = next((one for one in known if one.state in ("wanted", "building")), None)
    if coming is None:
        return None
    if coming.state == "wanted" or not coming.upto:
        return 0.0
    position = await journal_cursors.position(db, engine.consumer(coming.number)) or 0
    return min(1.0, position / coming.upto)
