"""What stops a rule that goes wrong: too many actions, too much of all traffic, too slow, too many faults. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from admin.spam.rates import Windows
from admin.spam.rules import Rule

SHARE_LOOKS_MIN = 200
SHARE_LOOKS_KEPT = 1_000
BUDGET_S = 0.005
STRIKES_MAX = 5
STRIKES_WITHIN_S = 60.0


@dataclass(slots=True)
class _Record:
    version: int
    strikes: deque[float] = field(default_factory=deque)
    hits: deque[int] = field(default_factory=deque)


class Brakes:
    """Counts what each rule does, and says when it has to stop."""

    def __init__(self) -> None:
        self._records: OrderedDict[str, _Record] = OrderedDict()
        self._minute, self._day = Windows(60), Windows(86_400)
        self._looks: dict[str, int] = {}

    def looked(self, hook: str) -> None:
        """One more thing happened that rules of this hook look at."""
        self._looks[hook] = self._looks.get(hook, 0) + 1

    def acted(self, rule: Rule, hook: str, now_s: float) -> str | None:
        """Counts an action; why the rule has to stop, if it has to."""
        record = self._record(rule)
        minute = self._minute.add((rule.id, rule.version), now_s)
        day = self._day.add((rule.id, rule.version), now_s)
        if minute > rule.limits.per_minute:
            return f"more than {rule.limits.per_minute} actions in a minute"
        if day > rule.limits.per_day:
            return f"more than {rule.limits.per_day} actions in a day"
        looks = self._looks.get(hook, 0)
        record.hits.append(looks)
        while record.hits and record.hits[0] <= looks - SHARE_LOOKS_KEPT:
            record.hits.popleft()
        of = min(looks, SHARE_LOOKS_KEPT)
        if of >= SHARE_LOOKS_MIN and len(record.hits) > rule.limits.share_max * of:
            return f"it matched {len(record.hits)} of the last {of}"
        return None

    def struck(self, rule: Rule, now_s: float) -> bool:
        """Counts a fault, or a time over the budget; whether that is one too many."""
        strikes = self._record(rule).strikes
        strikes.append(now_s)
        while strikes[0] < now_s - STRIKES_WITHIN_S:
            strikes.popleft()
        return len(strikes) >= STRIKES_MAX

    def _record(self, rule: Rule) -> _Record:
        known = self._records.get(rule.id)
        if known is None or known.version != rule.version:
            known = self._records[rule.id] = _Record(rule.version)
        return known
