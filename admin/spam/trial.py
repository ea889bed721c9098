"""A rule tried on examples, and on what was said before: the same facts, the same conditions, no effects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from admin.spam.engine import seen_by
from admin.spam.facts import Happening, Place, Rates, Reading, Sender
from admin.spam.rules import HOOKS, Lists, Rule, RuleSet

SAMPLES_MAX = 20
GROUPS_MAX = 50
DAY_S = 86_400


class Sample(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An example of something that happens."""

    content: dict[str, Any]
    hook: str = "event"
    type: str = "m.room.message"
    sender: str = "@somebody:example.org"
    room_id: str = "!room:example.org"
    state_key: str | None = None
    at_s: float = 0.0
    age_s: int = 31_536_000
    local: bool = True
    power: int = 0
    members: int = 2
    encrypted: bool = False
    public: bool = False
    address: str = ""
    past_actions: int = 0
    joined_s: int = 31_536_000
    shared_rooms: int = 0
    room_age_s: int = 31_536_000


@dataclass(slots=True)
class Tally:
    """What a trial found. `by_day` is keyed by days since the epoch."""

    looked_at: int = 0
    hits: int = 0
    faults: int = 0
    by_day: Counter[int] = field(default_factory=Counter)
    by_room: Counter[str] = field(default_factory=Counter)
    by_sender: Counter[str] = field(default_factory=Counter)
    overlap: Counter[str] = field(default_factory=Counter)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def shown(self) -> dict[str, Any]:
        """As JSON: the largest groups."""
        return {
            "looked_at": self.looked_at,
            "hits": self.hits,
            "faults": self.faults,
            "by_day": {str(day): hits for day, hits in sorted(self.by_day.items())[-400:]},
            "by_room": dict(self.by_room.most_common(GROUPS_MAX)),
            "by_sender": dict(self.by_sender.most_common(GROUPS_MAX)),
            "overlap": dict(self.overlap.most_common(GROUPS_MAX)),
            "samples": self.samples,
        }


class Trial:
    """Takes things in the order in which they happened, as the engine does, and counts what the rule would hit.

    `others` are rules whose hits are compared with its own: they are looked at where it hits, but count all along.
    """

    def __init__(self, rule: Rule, lists: Lists, others: Sequence[Rule] = ()) -> None:
        """Raises WrongRule, WrongCondition."""
        self._rule = rule
        self._tried = RuleSet([rule])
        self._others = RuleSet([other for other in others if other.id != rule.id])
        self._tries = frozenset(hook for hook in HOOKS if self._tried.has(hook))
        self._counted = {hook: self._others.counted(hook) for hook in HOOKS}
        self.wanted = frozenset(hook for hook in HOOKS if hook in self._tries or self._counted[hook])
        self._lists = lists
        self._rates = Rates()
        self.tally = Tally()

    def take(self, what: Happening, sender: Sender, place: Place) -> bool:
        """Whether the rule hits. What isn't `wanted` changes nothing."""
        hook = what.hook
        if hook not in self.wanted:
            return False
        reading = Reading(what, sender, place, self._lists, self._rates)
        for group, name in self._counted[hook]:
            reading.value(group, name)
        if hook not in self._tries:
            return False
        found = self._tried.judge(hook, reading)
        self.tally.looked_at += 1
        self.tally.faults += len(found.faults)
        if found.hits:
            self._hit(reading)
        return bool(found.hits)

    def _hit(self, reading: Reading) -> None:
        what, tally = reading.what, self.tally
        tally.hits += 1
        tally.by_day[int(what.at_s // DAY_S)] += 1
        tally.by_room[what.room_id] += 1
        tally.by_sender[what.sender] += 1
        if self._others.has(what.hook):
            tally.overlap.update(hit.rule.id for hit in self._others.judge(what.hook, reading).hits)
        if len(tally.samples) < SAMPLES_MAX:
            seen = seen_by(self._tried.fields_of(self._rule), reading)
            tally.samples.append({"event_id": what.event_id, "sender": what.sender, "seen": seen})


def tried_on(rule: Rule, lists: Lists, samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """For each example, in order, whether the rule hits and what it saw. Raises WrongRule, WrongCondition."""
    trial = Trial(rule, lists)
    results = []
    for sample in samples:
        before = len(trial.tally.samples)
        hit = trial.take(*_parts_of(sample))
        seen = trial.tally.samples[-1]["seen"] if len(trial.tally.samples) > before else None
        results.append({"hit": hit, **({"seen": seen} if seen is not None else {})})
    return results


def _parts_of(sample: Sample) -> tuple[Happening, Sender, Place]:
    what = Happening(
        hook=sample.hook,
        sender=sample.sender,
        at_s=sample.at_s,
        type=sample.type,
        state_key=sample.state_key,
        content=sample.content,
        room_id=sample.room_id,
        address=sample.address,
    )
    sender = Sender(
        local=sample.local,
        age_s=sample.age_s,
        power=sample.power,
        past_actions=sample.past_actions,
        joined_s=sample.joined_s,
        shared_rooms=sample.shared_rooms,
    )
    place = Place(
        members=sample.members,
        encrypted=sample.encrypted,
        public=sample.public,
        created_s=int(sample.at_s) - sample.room_age_s,
    )
    return what, sender, place
