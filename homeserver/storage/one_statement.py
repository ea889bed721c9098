"""What most batches of events write, in one statement: one round trip, and a transaction of its own.

The parts see the tables as they were before, and none of them needs another's rows. What must see them (a redaction,
for one) takes a transaction of several statements.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from homeserver.core.events import StateKey
from homeserver.storage import events, memberships, relations, state_keys, states
from homeserver.storage.database import Database
from homeserver.storage.events import NewEvent
from homeserver.storage.memberships import MembershipRow
from homeserver.storage.relations import RelationRow
from homeserver.storage.states import StateRow


def _moved(statement: str, places: int) -> str:
    """A statement whose parameters come after others: $1 becomes $4 where three go before."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + places}", statement)


_KEYS = state_keys.INSERT  # $1 to $3
_STATES = _moved(states.INSERT, 3)
_MEMBERS = _moved(memberships.UPSERT, 7)
_RELATIONS = _moved(relations.INSERT, 11)
_EVENTS = _moved(events.INSERT, 18)
_INSERT = f"""
    WITH keys AS ({_KEYS}), new_states AS ({_STATES}), members AS ({_MEMBERS}), new_relations AS ({_RELATIONS})
    {_EVENTS}
"""


async def insert(
    db: Database,
    rows: Sequence[NewEvent],
    *,
    keys: Mapping[StateKey, int],
    new_states: Sequence[StateRow],
    members: Sequence[MembershipRow],
    new_relations: Sequence[RelationRow],
) -> None:
    """Durable when it returns; all or nothing. `members` must name each (room, user) once."""
    await db.execute(
        _INSERT,
        *state_keys.insert_arguments(keys),
        *states.insert_arguments(new_states),
        *memberships.upsert_arguments(members),
        *relations.insert_arguments(new_relations),
        *events.insert_arguments(rows),
    )
