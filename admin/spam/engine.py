"""Decides: which rules hold for what happens, what follows from it, and a record of why.

Protected identities come first, brakes last. A rule that fails is no reason to fail a message, unless it says so.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
import orjson
import structlog

from admin.spam import storage
from admin.spam.book import RuleBook
from admin.spam.brakes import BUDGET_S, Brakes
from admin.spam.facts import SHARED, Happening, Rates, Reading, invited_by
from admin.spam.plugins import Plugins
from admin.spam.rules import DENYING, Action, Fault, Found, Rule
from admin.spam.storage import NewDecision
from admin.spam.surroundings import Surroundings, place_of
from homeserver.core.identifiers import domain_of
from homeserver.rooms.residents import Room
from homeserver.runtime.bell import Bell
from homeserver.runtime.clock import Clock
from homeserver.runtime.ids import Randomness
from homeserver.storage.database import Database

log = structlog.get_logger()

UNWRITTEN_MAX = 20_000
SEEN_CHARS_MAX = 500
PROTECTED = "protected"
CODE_LETTERS = 12


@dataclass(frozen=True, slots=True)
class World:
    """Where time, chance and the database come from."""

    db: Database
    clock: Clock
    randomness: Randomness


@dataclass(frozen=True, slots=True)
class Act:
    """One action that a decision calls for."""

    action: Action
    rule: Rule
    decision: NewDecision


@dataclass(slots=True)
class Verdict:
    """What is to be done: nothing where `acts` is empty. `denial` is the first that refuses."""

    acts: list[Act] = field(default_factory=list)
    shadowed: list[NewDecision] = field(default_factory=list)

    @property
    def denial(self) -> Act | None:
        denying = [act for act in self.acts if act.action.kind in DENYING]
        # A captcha can be solved: what can't comes first.
        return min(denying, key=lambda act: act.action.kind == "captcha", default=None)

    def of_kind(self, *kinds: str) -> list[Act]:
        return [act for act in self.acts if act.action.kind in kinds]


class BannedBy(Protocol):
    """Implemented by admin.spam.policy_lists."""

    @property
    def size(self) -> int: ...

    def why(self, what: Happening) -> str | None: ...


BY_LIST = Rule(id="policy-list", title="A policy list", when=("event",), condition="true", actions=(), stage="enforced")

ELSEWHERE = Rule(
    id=storage.POLICY_SERVER,
    title="The policy server of a room",
    when=("event",),
    condition="true",
    actions=(Action(kind="deny"),),
    stage="enforced",
)


class SpamEngine:
    """Judges what happens, live."""

    # What policy lists say, once they are read.
    bans: BannedBy | None = None
    # Packages of the operator's own.
    plugins: Plugins | None = None

    def __init__(self, world: World, book: RuleBook, surroundings: Surroundings) -> None:
        self._world = world
        self.book = book
        self.around = surroundings
        self._rates = Rates()
        self._brakes = Brakes()
        self._unwritten: deque[NewDecision] = deque()
        self._placed: list[tuple[str, str]] = []
        self._writing = asyncio.Lock()
        self.dropped = 0
        # Rung when decisions, or what was said against them, were written.
        self.decided = Bell()

    async def judge(self, what: Happening, room: Room | None = None) -> Verdict:
        """What the rules say. Never raises for a rule's sake."""
        force = self.book.force
        banned = self.bans.why(what) if self.bans is not None else None
        if banned is None and not self.has(what.hook):
            return Verdict()
        sender = await self.around.sender(what.sender, room, self._invited(what))
        if sender.admin or self._is_protected(what.sender):
            return Verdict()
        if banned is not None:
            return self._banned(what, banned)
        reading = Reading(what, sender, place_of(room), force.lists, self._rates)
        self._brakes.looked(what.hook)
        found = force.judge(what.hook, reading, measured=self._measured)
        verdict = self._verdict(what, reading, found)
        if verdict.denial is None and self.plugins is not None and what.hook in self.plugins.hooks:
            await self._ask_plugins(self.plugins, reading, verdict)
        return verdict

    def _invited(self, what: Happening) -> str | None:
        """Whom this is for, where something asks for what they share with the sender: it costs a query."""
        hook = what.hook
        asks = self.book.force.asks(hook, SHARED) or (self.plugins is not None and hook in self.plugins.hooks)
        return invited_by(what.type, what.sender, what.state_key) if asks else None

    async def _ask_plugins(self, plugins: Plugins, reading: Reading, verdict: Verdict) -> None:
        what = reading.what
        for name, rule in await plugins.opinions(what, reading.sender, reading.place):
            why = self._brakes.acted(rule, what.hook, what.at_s)
            if why is not None:
                plugins.rest(name, why)
                continue
            [action] = rule.actions
            decision = self._decision(what, rule, "enforced", {**seen_by((), reading), "reason": action.reason})
            verdict.acts.append(Act(action, rule, decision))
            if action.kind != "hold":
                self.record(decision)

    def wants(self, hook: str) -> bool:
        """Whether anything looks at this."""
        return self.has(hook) or (self.bans is not None and self.bans.size > 0)

    def has(self, hook: str) -> bool:
        """Whether a rule or a plug-in looks at this."""
        return self.book.force.has(hook) or (self.plugins is not None and hook in self.plugins.hooks)

    def _banned(self, what: Happening, why: str) -> Verdict:
        action = Action(kind="deny", reason=f"A policy list keeps this out: {why}")
        rule = msgspec.structs.replace(BY_LIST, actions=(action,))
        seen = {"reason": why, "event.target": what.state_key or ""}
        decision = self._decision(what, rule, "enforced", seen)
        self.record(decision)
        return Verdict([Act(action, rule, decision)])

    def refused_elsewhere(self, what: Happening, by: str, why: str) -> None:
        """Records that a room's policy server, which is another server, refused what somebody here sends."""
        body = (what.content or {}).get("body")
        why = why.replace("\x00", "")  # PostgreSQL takes none in what it reads of JSON
        seen = {"policy_server": by, "reason": why, "event.type": what.type, "event.target": what.state_key or ""}
        if isinstance(body, str):
            seen["event.text"] = body[:SEEN_CHARS_MAX]
        self.record(self._decision(what, ELSEWHERE, "enforced", seen))

    async def write(self) -> None:
        """Writes the decisions that wait, who was seen first, and which rules stopped; waits for who does so now."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        taken = [self._unwritten.popleft() for _ in range(min(len(self._unwritten), 1_000))]
        seen = dict(self.around.unsaved)
        placed = [] if self._unwritten else self._placed
        if taken or seen or placed:
            self._placed = self._placed if self._unwritten else []
            try:
                async with self._world.db.transaction() as tx:
                    await storage.put_decisions(tx, taken)
                    await storage.see(tx, seen)
                    await storage.place(tx, placed)
            except BaseException:
                self._unwritten.extendleft(reversed(taken))
                self._placed[:0] = placed
                raise
            for user_id in seen:
                self.around.unsaved.pop(user_id, None)
            for decision in taken:
                self.around.acted_on(decision.sender)
            if taken:
                self.decided.ring()
        if self.book.stopped:
            await self.book.keep_stopped()

    async def run(self) -> None:
        """One round of a background task."""
        await self._world.clock.sleep(0.5)
        await self.write()

    def _is_protected(self, user_id: str) -> bool:
        lists = self.book.force.lists
        names = lists.of("users", [user_id]) | lists.of("servers", [domain_of(user_id)])
        return any(name.startswith(PROTECTED) for name in names)

    def _measured(self, rule: Rule, evaluate: Callable[[], bool]) -> bool:
        clock = self._world.clock
        began = clock.monotonic_s()
        holds = evaluate()
        ended = clock.monotonic_s()
        if ended - began <= BUDGET_S:
            return holds
        # Perhaps the process had to wait, which is no fault of the rule: who is slow is so again.
        holds = evaluate()
        again = clock.monotonic_s()
        if again - ended > BUDGET_S and self._brakes.struck(rule, again):
            self.book.stop(rule, f"it took more than {BUDGET_S * 1000:g} ms, time and again")
        return holds

    def _verdict(self, what: Happening, reading: Reading, found: Found) -> Verdict:
        verdict = Verdict()
        for fault in found.faults:
            self._failed(what, reading, fault, verdict)
        for hit in found.hits:
            self._hit(what, reading, hit.rule, verdict)
        return verdict

    def _failed(self, what: Happening, reading: Reading, fault: Fault, verdict: Verdict) -> None:
        rule = fault.rule
        log.warning("spam_rule_failed", rule_id=rule.id, rule_version=rule.version, why=fault.why[:200])
        if self._is_enforced(rule, what) and rule.fails_closed:
            self._hit(what, reading, rule, verdict)
        if self._brakes.struck(rule, self._world.clock.monotonic_s()):
            self.book.stop(rule, f"it failed time and again: {fault.why[:200]}")

    def _hit(self, what: Happening, reading: Reading, rule: Rule, verdict: Verdict) -> None:
        if not self._is_in_time(rule) or rule.stage == "draft":
            return
        is_enforced = self._is_enforced(rule, what)
        if is_enforced:
            why = self._brakes.acted(rule, what.hook, what.at_s)
            if why is not None:
                self.book.stop(rule, why)
                is_enforced = False
        seen = seen_by(self.book.force.fields_of(rule), reading)
        decision = self._decision(what, rule, "enforced" if is_enforced else "shadow", seen)
        if not is_enforced:
            verdict.shadowed.append(decision)
            self.record(decision)
            return
        verdict.acts += [Act(action, rule, decision) for action in rule.actions]
        if not any(action.kind == "hold" for action in rule.actions):
            self.record(decision)

    def _decision(self, what: Happening, rule: Rule, stage: str, seen: Mapping[str, Any]) -> NewDecision:
        return NewDecision(
            code=self._world.randomness.letters(CODE_LETTERS),
            decided_ts=self._world.clock.now_ms(),
            hook=what.hook,
            rule_id=rule.id,
            rule_version=rule.version,
            stage=stage,
            outcome=",".join(action.kind for action in rule.actions),
            sender=what.sender,
            room_id=what.room_id,
            event_id=what.event_id,
            seen=orjson.dumps(seen).decode(),
        )

    def record(self, decision: NewDecision) -> None:
        """Keeps a decision until it is written; where too many wait, the oldest go, and are counted."""
        self._unwritten.append(decision)
        if len(self._unwritten) > UNWRITTEN_MAX:
            self._unwritten.popleft()
            self.dropped += 1

    def placed(self, code: str, event_id: str) -> None:
        """The event that a decision is about is written, under this id: the decision says so from now on."""
        if len(self._placed) < UNWRITTEN_MAX:
            self._placed.append((code, event_id))

    async def record_now(self, decision: NewDecision) -> int:
        """Writes a decision at once; its number."""
        async with self._world.db.transaction() as tx:
            return await storage.put_decision(tx, decision)

    def _is_in_time(self, rule: Rule) -> bool:
        now_ms = self._world.clock.now_ms()
        return rule.from_ms <= now_ms and (not rule.until_ms or now_ms < rule.until_ms)

    def _is_enforced(self, rule: Rule, what: Happening) -> bool:
        if rule.stage != "enforced" or (rule.id, rule.version) in self.book.stopped:
            return False
        if rule.rooms and what.room_id not in rule.rooms:
            return False
        # The same sender is always on the same side, so that a rule in part doesn't look like a fault.
        return zlib.crc32(f"{rule.id} {what.sender}".encode()) % 100 < rule.percentage


def seen_by(fields: Sequence[tuple[str, str]], reading: Reading) -> dict[str, Any]:
    """The values that a condition names, and what undoing needs; long ones cut."""
    wanted = {*fields, ("event", "media"), ("event", "type"), ("event", "target")}
    return {f"{group}.{name}": _cut(reading.value(group, name)) for group, name in sorted(wanted)}


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return value[:SEEN_CHARS_MAX]
    if isinstance(value, list):
        return [_cut(one) for one in value[:20]]
    return value
