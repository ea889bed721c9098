"""Rules as data, and which of them hold for something that happens. Pure.

A set of rules is indexed by what each needs to hold (a word, a pattern, a list, a number): one pass over the text
finds the few that are worth evaluating, so a thousand rules cost little more than ten.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any, Protocol

import ahocorasick
import msgspec
import re2

from admin.spam.conditions import FAULTS, Condition, Key, WrongCondition, context_of, is_counted, texts_of
from admin.spam.text import folded

HOOKS = (
    "event", "remote_event", "invite", "remote_invite", "join", "remote_join", "knock", "create_room", "alias",
    "registration", "login", "profile", "media", "report", "publish", "invite_address", "to_device", "contact",
    "deactivation",
)  # fmt: skip
STAGES = ("draft", "shadow", "enforced")
DENYING = ("deny", "soft_fail", "hold", "rate_limit", "shadow", "captcha")
AFTERWARDS = (
    "redact",
    "kick",
    "ban",
    "mute",
    "lock",
    "quiet",
    "suspend",
    "quarantine",
    "report",
    "notify",
    "webhook",
    "tag",
    "expire",
    "burn",
)
ACTIONS = (*DENYING, "mask", *AFTERWARDS)
# How a room is locked while a wave lasts → the type of the event that says so.
LOCKS: Mapping[str, str] = {"invite_only": "m.room.join_rules", "quiet": "m.room.power_levels"}
RULES_MAX = 5_000
NAME_CHARS_MAX = 255
LOOK = "look:"
LOOK_BITS_MAX = 6
_LOOK = re.compile(r"look:[0-9a-f]{16}")


class Action(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done. `reason` is what the sender is told; other fields as the kind of action needs them."""

    kind: str
    reason: str = ""
    minutes: int = 0  # redact: what the sender said before, too; mute: for so long, 0 for good
    seconds: int = 60  # rate_limit, lock, quiet; expire: from now; burn: from when somebody else has read it
    pattern: str = ""  # mask: what is replaced
    room_id: str = ""  # notify
    url: str = ""  # webhook


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The brake: what a rule may do before it stops itself. `share_max` is of all it looked at, from 200 on."""

    per_minute: int = 600
    per_day: int = 50_000
    share_max: float = 0.3


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One version of a rule. Times in milliseconds since the epoch, 0 for none."""

    id: str
    title: str
    when: tuple[str, ...]
    condition: str
    actions: tuple[Action, ...]
    version: int = 1
    stage: str = "draft"
    percentage: int = 100
    rooms: tuple[str, ...] = ()  # enforced in these alone; empty: everywhere
    priority: int = 100  # lower first
    from_ms: int = 0
    until_ms: int = 0
    limits: Limits = Limits()
    fails_closed: bool = False
    pack: str = ""


class Kind(Enum):
    WORDS = "words"
    DOMAINS = "domains"
    MEDIA = "media"
    USERS = "users"
    SERVERS = "servers"


class Wordlist(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A named list. `kind` is words, domains, media (addresses or hashes), users or servers (both may be globs)."""

    name: str
    kind: str
    entries: tuple[str, ...]


class WrongRule(ValueError):
    """A rule that can't be used: the text says what is wrong."""


def check_rule(rule: Rule) -> Condition:
    """The compiled condition. Raises WrongRule and WrongCondition."""
    for name, value, known in (("when", rule.when, HOOKS), ("stage", (rule.stage,), STAGES)):
        if wrong := [one for one in value if one not in known]:
            raise WrongRule(f"{name} can't be {wrong[0]!r}: it is one of {', '.join(known)}")
    if not rule.when or not rule.actions:
        raise WrongRule("a rule needs when, and actions")
    if len(rule.title) > NAME_CHARS_MAX or len(rule.actions) > 10 or len(rule.rooms) > 10_000:
        raise WrongRule("title may have 255 characters, actions 10 entries, rooms 10,000")
    if not 0 <= rule.percentage <= 100 or not 0 < rule.limits.share_max <= 1:
        raise WrongRule("percentage must be 0 to 100, limits.share_max more than 0 and at most 1")
    for action in rule.actions:
        _check_action(action)
    goes = any(action.kind in ("expire", "burn") for action in rule.actions)
    if goes and not set(rule.when) <= {"event", "remote_event"}:
        raise WrongRule("expire and burn are for event and remote_event: nothing else is a message")
    if any(action.kind == "captcha" for action in rule.actions) and rule.when != ("registration",):
        raise WrongRule("captcha is for registration alone")
    return Condition(rule.condition)


def asks_list(rule: Rule, name: str) -> bool:
    """Whether a rule's condition names this list."""
    return "event.lists" in rule.condition.replace(" ", "") and name in texts_of(rule.condition)


def check_scope(rule: Rule) -> None:
    """That a rule can ever act, where and when it says. Raises WrongRule."""
    if rule.until_ms and rule.until_ms <= max(rule.from_ms, 0):
        raise WrongRule("until_ms must be after from_ms: this rule would never act")
    if wrong := [room for room in rule.rooms if not room.startswith("!")]:
        raise WrongRule(f"rooms takes room ids, which {wrong[0][:255]!r} is not: this rule would not act there")
    if rule.limits.per_minute < 0 or rule.limits.per_day < 0:
        raise WrongRule("limits.per_minute and limits.per_day must be 0 or more")


def _check_action(action: Action) -> None:
    if action.kind not in ACTIONS:
        raise WrongRule(f"there is no action {action.kind!r}: it is one of {', '.join(ACTIONS)}")
    if len(action.reason) > 1_000:
        raise WrongRule("a reason may have 1,000 characters")
    if not 0 <= action.minutes <= 10_080 or not 1 <= action.seconds <= 31_536_000:
        raise WrongRule("minutes must be 0 to 10,080, seconds 1 to 31,536,000")
    needed = {"mask": action.pattern, "notify": action.room_id, "webhook": action.url}
    if action.kind in needed and not needed[action.kind]:
        raise WrongRule(f"{action.kind} needs pattern, room_id or url")
    if action.kind == "mask":
        try:
            re2.compile(action.pattern)
        except re2.error as error:
            raise WrongRule(f"{action.pattern!r} is no pattern of RE2: {error}") from None


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule whose condition holds."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class Fault:
    """A rule that couldn't be evaluated, and why."""

    rule: Rule
    why: str


@dataclass(slots=True)
class Found:
    hits: list[Hit] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    looked_at: int = 0


class Asked(Protocol):
    """What happened, asked for the values of a condition's fields. Implemented by facts.Reading."""

    def value(self, group: str, name: str) -> Any: ...

    def values(self, wanted: Iterable[tuple[str, str]]) -> Mapping[str, Mapping[str, Any]]: ...


class Lists:
    """Named lists, ready to be asked. A text against all words: one pass, however many there are."""

    def __init__(self, lists: Iterable[Wordlist] = ()) -> None:
        self._words: Any = None
        self._exact: dict[str, dict[str, set[str]]] = {kind.value: {} for kind in Kind}
        self._globs: dict[str, list[tuple[Any, str]]] = {"users": [], "servers": []}
        self._looks: list[tuple[int, str]] = []
        words: dict[str, set[str]] = {}
        for named in lists:
            for entry in named.entries:
                if named.kind == "words":
                    if key := folded(entry):
                        words.setdefault(key, set()).add(named.name)
                elif named.kind == "media" and _LOOK.fullmatch(entry):
                    self._looks.append((int(entry.removeprefix(LOOK), 16), named.name))
                elif named.kind in self._globs and ("*" in entry or "?" in entry):
                    self._globs[named.kind].append((re2.compile(glob(entry)), named.name))
                else:
                    self._exact[named.kind].setdefault(entry.lower(), set()).add(named.name)
        if words:
            self._words = automaton_of(words)

    def of_text(self, text: str) -> set[str]:
        """The lists that have a word of this folded text."""
        return set().union(*hits_in(self._words, text)) if self._words is not None else set()

    @property
    def has_looks(self) -> bool:
        """Whether any list says what pictures look like."""
        return bool(self._looks)

    def of_look(self, look: str) -> set[str]:
        """The lists that have a picture that looks nearly so: at most LOOK_BITS_MAX of its 64 bits differ."""
        if not look or not self._looks:
            return set()
        bits = int(look, 16)
        return {name for known, name in self._looks if (known ^ bits).bit_count() <= LOOK_BITS_MAX}

    def of(self, kind: str, values: Iterable[str]) -> set[str]:
        """The lists of this kind that have one of the values."""
        known, found = self._exact[kind], set()
        globs = self._globs.get(kind, ())
        for value in values:
            found |= known.get(value.lower(), set())
            found |= {name for pattern, name in globs if pattern.fullmatch(value)}
        return found


def glob(entity: str) -> str:
    """The pattern of a glob, in which `*` and `?` alone mean something."""
    return "".join({"*": ".*", "?": "."}.get(part, re2.escape(part)) for part in entity)


def automaton_of(words: Mapping[str, Any]) -> Any:
    """An Aho-Corasick automaton over these words, each with its value."""
    made = ahocorasick.Automaton()
    for word, value in words.items():
        made.add_word(word, (word, value))
    made.make_automaton()
    return made


def hits_in(automaton: Any, text: str) -> list[Any]:
    """The values of the words that stand in the text. A Latin word counts only as a whole word."""
    found = []
    for end, (word, value) in automaton.iter(text):
        start = end - len(word) + 1
        if word[0].isascii() and start > 0 and text[start - 1].isascii() and text[start - 1].isalnum():
            continue
        if word[-1].isascii() and end + 1 < len(text) and text[end + 1].isascii() and text[end + 1].isalnum():
            continue
        found.append(value)
    return found


class _Index:
    """The rules of one hook, by what each needs."""

    def __init__(self, rules: Sequence[tuple[Rule, Condition]]) -> None:
        self.rules = rules
        self._always: list[int] = []
        texts: dict[str, list[int]] = {}
        patterns: dict[str, dict[str, list[int]]] = {}
        self._values: dict[str, dict[str, list[int]]] = {}
        above: dict[str, list[tuple[int, int]]] = {}
        below: dict[str, list[tuple[int, int]]] = {}
        for number, (_, condition) in enumerate(rules):
            if not condition.keys:
                self._always.append(number)
            for key in condition.keys:
                self._add(key, number, texts, patterns, above, below)
        self._texts = automaton_of(texts) if texts else None
        self._patterns = {path: _pattern_set(found) for path, found in patterns.items()}
        self._above = {path: _steps(sorted(steps)) for path, steps in above.items()}
        self._below = {path: _steps(sorted((-bound, n) for bound, n in steps)) for path, steps in below.items()}
        self.fields = frozenset(field for _, condition in rules for field in condition.fields)
        self.counted = sorted(field for field in self.fields if is_counted(*field))

    def _add(
        self,
        key: Key,
        number: int,
        texts: dict[str, list[int]],
        patterns: dict[str, dict[str, list[int]]],
        above: dict[str, list[tuple[int, int]]],
        below: dict[str, list[tuple[int, int]]],
    ) -> None:
        if isinstance(key.value, int):
            (above if key.kind == "above" else below).setdefault(key.path, []).append((key.value, number))
        elif key.kind == "text":
            texts.setdefault(key.value, []).append(number)
        elif key.kind == "pattern":
            patterns.setdefault(key.path, {}).setdefault(key.value, []).append(number)
        else:
            self._values.setdefault(key.path, {}).setdefault(key.value, []).append(number)

    def worth(self, asked: Asked) -> list[int]:
        """The rules that can hold, in their order."""
        found = set(self._always)
        if self._texts is not None and (text := asked.value("event", "text")):
            for _, (_, numbers) in self._texts.iter(text):
                found.update(numbers)
        for path, (patterns, of_pattern) in self._patterns.items():
            if text := _at(asked, path):
                for place in patterns.Match(text) or ():
                    found.update(of_pattern[place])
        for path, known in self._values.items():
            value = _at(asked, path)
            for one in value if isinstance(value, list) else (value,):
                found.update(known.get(one, ()))
        for path, (bounds, numbers) in self._above.items():
            found.update(numbers[: bisect.bisect_right(bounds, _at(asked, path))])
        for path, (bounds, numbers) in self._below.items():
            found.update(numbers[: bisect.bisect_right(bounds, -_at(asked, path))])
        return sorted(found)


def _at(asked: Asked, path: str) -> Any:
    group, _, name = path.partition(".")
    return asked.value(group, name)


def _pattern_set(patterns: Mapping[str, list[int]]) -> tuple[Any, list[list[int]]]:
    made = re2.Set.SearchSet()
    for pattern in patterns:
        made.Add(pattern)
    made.Compile()
    return made, list(patterns.values())


def _steps(steps: Sequence[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [bound for bound, _ in steps], [number for _, number in steps]


class RuleSet:
    """Rules and lists in force, compiled: a value, made anew when one changes."""

    def __init__(self, rules: Sequence[Rule], lists: Sequence[Wordlist] = ()) -> None:
        """Raises WrongRule and WrongCondition."""
        self._index([(rule, check_rule(rule)) for rule in rules], Lists(lists))

    @classmethod
    def of(cls, compiled: Sequence[tuple[Rule, Condition]], lists: Sequence[Wordlist] = ()) -> RuleSet:
        """Of rules that were checked already."""
        made = cls.__new__(cls)
        made._index(compiled, Lists(lists))
        return made

    def _index(self, compiled: Sequence[tuple[Rule, Condition]], lists: Lists) -> None:
        ordered = sorted(compiled, key=lambda pair: (pair[0].priority, pair[0].id))
        self.rules = {rule.id: rule for rule, _ in ordered}
        self.lists = lists
        self._fields = {rule.id: sorted(condition.fields) for rule, condition in ordered}
        self._indexes = {hook: _Index([pair for pair in ordered if hook in pair[0].when]) for hook in HOOKS}

    def has(self, hook: str) -> bool:
        """Whether any rule looks at this."""
        return bool(self._indexes[hook].rules)

    def asks(self, hook: str, field: tuple[str, str]) -> bool:
        """Whether a rule of this hook names the field."""
        return field in self._indexes[hook].fields

    def fields_of(self, rule: Rule) -> Sequence[tuple[str, str]]:
        """What a rule's condition names."""
        return self._fields[rule.id]

    def counted(self, hook: str) -> Sequence[tuple[str, str]]:
        """The fields of this hook's rules that count what happens."""
        return self._indexes[hook].counted

    def judge(
        self,
        hook: str,
        asked: Asked,
        *,
        but: Collection[str] = (),
        measured: Callable[[Rule, Callable[[], bool]], bool] | None = None,
    ) -> Found:
        """The rules that hold, without those in `but`. `measured` runs one evaluation and sees how long it takes.

        What the hook's rules count is counted, whichever of them are looked at.
        """
        index = self._indexes[hook]
        for group, name in index.counted:
            asked.value(group, name)
        worth = [index.rules[number] for number in index.worth(asked)]
        found = Found(looked_at=len(worth))
        if but:
            worth = [(rule, condition) for rule, condition in worth if rule.id not in but]
        if not worth:
            return found
        fields = worth[0][1].fields if len(worth) == 1 else {field for _, one in worth for field in one.fields}
        values = asked.values(fields)
        context = None if all(condition.is_plain for _, condition in worth) else context_of(values)
        for rule, condition in worth:
            try:
                evaluate = partial(condition.holds, values, context)
                holds = measured(rule, evaluate) if measured else evaluate()
            except FAULTS as error:
                found.faults.append(Fault(rule, f"{type(error).__name__}: {str(error)[:300]}"))
                continue
            if holds:
                found.hits.append(Hit(rule))
        return found


__all__ = ["HOOKS", "Action", "Limits", "Rule", "RuleSet", "Wordlist", "WrongCondition", "WrongRule", "check_rule"]
