"""Conditions of rules: CEL over a typed context, bounded before it ever runs. Pure.

A condition has no loops but those over lists of the context, which are bounded; none of these lies within another, so
its cost is its length times the longest list. Regular expressions go through RE2 alone, in linear time.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import re2

from admin.spam.text import folded

if TYPE_CHECKING:
    import cel

CONDITION_CHARS_MAX = 4_000
DEPTH_MAX = 20
LOOPS_MAX = 3
PATTERN_BYTES_MAX = 1 << 20

# What a condition may name, with a value of the type that it has.
SCHEMA: Mapping[str, Mapping[str, Any]] = {
    "event": {
        "type": "m.room.message",
        "state_key": "",
        "is_state": False,
        "text": "hello",
        "raw": "Hello",
        "msgtype": "m.text",
        "length": 5,
        "lines": 1,
        "language": "latin",
        "links": ["https://example.org/a"],
        "domains": ["example.org"],
        "mentions": 0,
        "membership": "",
        "target": "",
        "target_local": False,
        "media": ["mxc://example.org/a"],
        "hash": "",
        "mimetype": "",
        "file_name": "",
        "size": 0,
        "similar": 0,
        "lists": ["words"],
        "is_edit": False,
        "is_reply": False,
    },
    "sender": {
        "id": "@a:example.org",
        "localpart": "a",
        "server": "example.org",
        "local": True,
        "age_s": 0,
        "power": 0,
        "admin": False,
        "guest": False,
        "past_actions": 0,
        "joined_s": 0,
        "shared_rooms": 0,
        "name": "a",
        "address": "",
    },
    "room": {
        "id": "!a:example.org",
        "members": 0,
        "encrypted": False,
        "public": False,
        "version": "12",
        "age_s": 0,
        "joins_1m": 0,
    },
    "rates": {
        "sender_10s": 0,
        "sender_1m": 0,
        "sender_1h": 0,
        "sender_rooms_1m": 0,
        "server_1m": 0,
        "room_1m": 0,
        "address_1m": 0,
        "text_10m": 0,
        "text_rooms_10m": 0,
        "link_10m": 0,
        "link_rooms_10m": 0,
        "fresh_1m": 0,
    },
}
_FIELD = re.compile(r"\b(event|sender|room|rates)\s*(\.\s*(\w+)|\[)?")
_LOOP = re.compile(r"\.\s*(map|filter|all|exists|exists_one)\s*\(")
_CALL_WITH_TEXT = re.compile(r'(event\.text\.(?:contains|startsWith|endsWith)\(\s*)"((?:[^"\\]|\\.)*)"(\s*\))')
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
_ODD_STRING = re.compile(r"""\b[rRbB]{1,2}["']|"{4}""")
_CONTAINS = re.compile(r'^event\.text\.contains\(\s*"((?:[^"\\]|\\.)*)"\s*\)$')
_PATTERN = re.compile(r'^event\.(text|raw)\.re2\(\s*"((?:[^"\\]|\\.)*)"\s*\)$')
_LISTED = re.compile(r'^"([^"\\]*)"\s+in\s+event\.(lists|domains|links|media)$')
_EQUAL = re.compile(r'^(event|sender|room)\.(\w+)\s*==\s*"([^"\\]*)"$')
_NUMBER = re.compile(r"^(event|sender|room|rates)\.(\w+)\s*(>=|>|<=|<)\s*(-?\d{1,15})$")
_FLAG = re.compile(r"^(!?)\s*(event|sender|room)\.(\w+)$")
_ESCAPE = re.compile(r"\\(.)")
_COUNTED = frozenset({"similar", "joins_1m"})
_FUNCTIONS = frozenset(
    "contains startsWith endsWith size re2 has in @in int double string bool min max "
    "_&&_ _||_ !_ _==_ _!=_ _<_ _<=_ _>_ _>=_ _+_ _-_ _*_ _/_ _%_ -_ _?_:_ _[_] @not_strictly_false".split()
)


# What evaluating a condition may raise: a wrong type, a missing key, an index or a number out of its bounds.
FAULTS = (ValueError, TypeError, LookupError, RuntimeError, ArithmeticError)


Values = Mapping[str, Mapping[str, Any]]
Test = Callable[[Values], bool]


class WrongCondition(ValueError):
    """A condition that can't be used: the text says what is wrong and what would be right."""


@dataclass(frozen=True, slots=True)
class Key:
    """What must be so for a condition to hold: `kind` is text, pattern, listed, equal, above or below."""

    kind: str
    path: str
    value: str | int


class Condition:
    """A compiled condition."""

    __slots__ = ("_plain", "_program", "fields", "keys", "source")

    def __init__(self, source: str) -> None:
        """Raises WrongCondition."""
        _check_size(source)
        self.source = source
        self.fields = _fields(source)
        self._program = _compiled(_with_folded_text(source))
        _check_names(self._program)
        for part in _parts(source, "&&"):
            _check_type(part)
        self.keys = keys_of(_with_folded_text(source))
        self._plain = plain_of(_with_folded_text(source))

    @property
    def is_plain(self) -> bool:
        """Whether it needs no context of the language: most do, and making one costs more than all else."""
        return self._plain is not None

    def holds(self, values: Values, context: cel.Context | None) -> bool:
        """`context` is made of the values; what is plain needs none. Raises one of FAULTS where it can't be told."""
        return self._plain(values) if self._plain is not None else self._program.execute(context) is True


def is_counted(group: str, name: str) -> bool:
    """Whether the value counts what happened, so that looking at it is part of it."""
    return group == "rates" or name in _COUNTED


def context_of(values: Values) -> cel.Context:
    """What conditions are evaluated in. About 1.2 µs for each value: made once for all rules."""
    import cel

    made = cel.Context(variables=dict(values))
    made.add_function("re2", is_found)
    return made


def is_found(text: str, pattern: str) -> bool:
    """Whether the pattern occurs in the text."""
    return pattern_of(pattern).search(text) is not None


@lru_cache(maxsize=4_096)
def pattern_of(pattern: str) -> Any:
    """A compiled RE2 pattern. Raises ValueError."""
    options = re2.Options()
    options.max_mem = PATTERN_BYTES_MAX
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"{pattern!r} is no pattern of RE2: {error}") from None


def texts_of(source: str) -> frozenset[str]:
    """The texts that stand in a condition, without their quotes."""
    return frozenset(_unescaped(found[0][1:-1]) for found in _STRING.finditer(source))


def keys_of(source: str) -> tuple[Key, ...]:
    """One of these must be so for the condition to hold; none where nothing can be said.

    Of the parts that `&&` joins, the one that is true least often: words before numbers.
    """
    best: tuple[int, tuple[Key, ...]] = (0, ())
    for part in _parts(source, "&&"):
        choices = [_key(choice) for choice in _parts(_bare(part), "||")]
        if any(choice is None for choice in choices):
            continue
        keys = tuple(choice for choice in choices if choice is not None)
        weight = min(_WEIGHT[key.kind] for key in keys)
        if weight > best[0]:
            best = (weight, keys)
    return best[1]


_WEIGHT = {"text": 6, "pattern": 5, "listed": 4, "above": 3, "below": 2, "equal": 1}


def _key(part: str) -> Key | None:
    part = _bare(part)
    if (found := _CONTAINS.match(part)) and (text := _unescaped(found[1])):
        return Key("text", "event.text", text)
    if found := _PATTERN.match(part):
        return Key("pattern", f"event.{found[1]}", _unescaped(found[2]))
    if found := _LISTED.match(part):
        return Key("listed", f"event.{found[2]}", found[1])
    if found := _EQUAL.match(part):
        return Key("equal", f"{found[1]}.{found[2]}", found[3])
    if found := _NUMBER.match(part):
        bound = int(found[4]) + {">": 1, "<": -1}.get(found[3], 0)
        return Key("above" if found[3].startswith(">") else "below", f"{found[1]}.{found[2]}", bound)
    return None


def plain_of(source: str) -> Test | None:
    """The same without the language: for comparisons of single fields that `&&` and `||` join; None for all else.

    A trial over a long history asks for it ten million times.
    """
    source = _bare(source)
    for operator, is_any in (("||", True), ("&&", False)):
        parts = _parts(source, operator)
        if len(parts) > 1:
            tests = [test for part in parts if (test := plain_of(part)) is not None]
            return _joined(tests, is_any=is_any) if len(tests) == len(parts) else None
    return _plain_part(source)


def _joined(tests: Sequence[Test], *, is_any: bool) -> Test:
    def joined(values: Values) -> bool:
        for test in tests:
            if test(values) is is_any:
                return is_any
        return not is_any

    return joined


def _plain_part(part: str) -> Test | None:
    if found := _FLAG.match(part):
        group, name, wanted = found[2], found[3], not found[1]
        return (lambda values: values[group][name] is wanted) if _is_of(bool, group, name) else None
    key = _key(part)
    if key is None:
        return None
    group, _, name = key.path.partition(".")
    value, kind = key.value, str if isinstance(key.value, str) else int
    tests: Mapping[str, Test] = {
        "text": lambda values: value in values[group][name],
        "pattern": lambda values: is_found(values[group][name], str(value)),
        "listed": lambda values: value in values[group][name],
        "equal": lambda values: bool(values[group][name] == value),
        "above": lambda values: bool(values[group][name] >= value),
        "below": lambda values: bool(values[group][name] <= value),
    }
    return tests[key.kind] if key.kind == "listed" or _is_of(kind, group, name) else None


def _is_of(kind: type, group: str, name: str) -> bool:
    return type(SCHEMA[group].get(name)) is kind


def _check_size(source: str) -> None:
    if len(source) > CONDITION_CHARS_MAX:
        raise WrongCondition(f"a condition may have {CONDITION_CHARS_MAX} characters, this one has {len(source)}")
    bare = _STRING.sub('""', source)
    if _ODD_STRING.search(bare) or any(found[1] not in "\\\"'ntr" for found in _ESCAPE.finditer(source)):
        raise WrongCondition('write texts as "...": of escapes there are \\\\ \\" \\n \\t \\r')
    depth = 0
    for character in bare:
        depth += (character in "([{") - (character in ")]}")
        if depth > DEPTH_MAX:
            raise WrongCondition(f"brackets may be {DEPTH_MAX} deep")
    if "!!!!" in bare.replace(" ", "") or "----" in bare.replace(" ", ""):
        raise WrongCondition("a sign may be repeated twice")
    loops = [found.start() for found in _LOOP.finditer(bare)]
    if len(loops) > LOOPS_MAX:
        raise WrongCondition(f"a condition may go through {LOOPS_MAX} lists, this one goes through {len(loops)}")
    for start in loops:
        if _LOOP.search(_inside(bare, bare.index("(", start))):
            raise WrongCondition("going through a list within a list is not allowed: say it in two conditions")


def _inside(text: str, opening: int) -> str:
    depth = 0
    for place in range(opening, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return text[opening + 1 : place]
    return text[opening + 1 :]


def _fields(source: str) -> frozenset[tuple[str, str]]:
    fields = set()
    for found in _FIELD.finditer(_STRING.sub('""', source)):
        group, name = found[1], found[3]
        if name is None:
            raise WrongCondition(f"{group} is used by its fields, such as {group}.{next(iter(SCHEMA[group]))}")
        if name not in SCHEMA[group]:
            raise WrongCondition(f"{group} has no {name!r}: it has {', '.join(SCHEMA[group])}")
        fields.add((group, name))
    return frozenset(fields)


def warm_up() -> None:
    """Loads the language. It brings a shell of its own, a twentieth of all that a server imports: a start doesn't wait
    for it, nor does the event loop at the first rule.
    """
    import cel  # noqa: F401


def _compiled(source: str) -> cel.Program:
    import cel

    try:
        return cel.compile(source)
    except (ValueError, TypeError, RuntimeError) as error:
        raise WrongCondition(f"the condition can't be read: {str(error)[:300]}") from None


def _check_names(program: cel.Program) -> None:
    functions = set(program.functions())
    if "matches" in functions:
        raise WrongCondition("use event.text.re2(...) instead of matches: it takes linear time")
    if unknown := sorted(functions - _FUNCTIONS):
        raise WrongCondition(f"there is no function {unknown[0]!r}")


def _check_type(part: str) -> None:
    """Evaluates one part on an example: what names a wrong type shows now, not when a message comes."""
    program = _compiled(part)
    try:
        value = program.execute(_example())
    except FAULTS as error:
        raise WrongCondition(f"{part.strip()[:120]!r} can't be evaluated: {str(error)[:300]}") from None
    if not isinstance(value, bool):
        raise WrongCondition(f"{part.strip()[:120]!r} must be true or false, it is {value!r}")


@lru_cache(maxsize=1)
def _example() -> cel.Context:
    return context_of(SCHEMA)


def _with_folded_text(source: str) -> str:
    """Literals that the text is compared with, in the spelling that the text has."""

    def fold(found: re.Match[str]) -> str:
        literal = folded(_unescaped(found[2])).replace("\\", "\\\\").replace('"', '\\"')
        return f'{found[1]}"{literal}"{found[3]}'

    return _CALL_WITH_TEXT.sub(fold, source)


def _unescaped(literal: str) -> str:
    named: Mapping[str, str] = {"n": "\n", "t": "\t", "r": "\r"}
    swap: Callable[[re.Match[str]], str] = lambda found: named.get(found[1], found[1])  # noqa: E731
    return _ESCAPE.sub(swap, literal)


def _bare(part: str) -> str:
    """Without the brackets around all of it."""
    part = part.strip()
    while part.startswith("(") and part.endswith(")") and len(_inside(_STRING.sub(_blank, part), 0)) == len(part) - 2:
        part = part[1:-1].strip()
    return part


def _blank(found: re.Match[str]) -> str:
    return "\x00" * len(found[0])


def _parts(source: str, operator: str) -> list[str]:
    """What an operator joins at the top. One part where something that binds weaker is there too."""
    bare = _STRING.sub(_blank, source)
    depth, start, parts, place = 0, 0, [], 0
    while place < len(bare):
        character = bare[place]
        depth += (character in "([{") - (character in ")]}")
        two = bare[place : place + 2]
        if depth == 0 and (character == "?" or (operator == "&&" and two == "||")):
            return [source]
        if depth == 0 and two == operator:
            parts.append(source[start:place])
            start = place = place + 2
            continue
        place += 1
    return [*parts, source[start:]]
