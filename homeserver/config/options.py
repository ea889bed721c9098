"""What an option is: a default, one sentence, and what its value must be. And the type of a secret."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any, ClassVar, Protocol, TypeVar, cast, get_type_hints

T = TypeVar("T")

# Says what is wrong with a value, or nothing.
Check = Callable[[Any], str | None]

_RULE = "hansa"


class Secret:
    """A value that must not be seen: printing, formatting and serialising it show `<secret>` or fail."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself. Call it where the value is used, and keep it nowhere."""
        return self._value

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        """In constant time for values of one length."""
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a secret can't be pickled")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self


def is_secret(secret: Secret | None, given: str) -> bool:
    """Whether that is the secret, in a time that says nothing of either; never, where there is none."""
    if secret is None or not secret:
        return False
    digests = [hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest() for text in (secret.reveal(), given)]
    return hmac.compare_digest(*digests)


@dataclass(frozen=True, slots=True)
class Rule:
    """What the schema says of one option beside its type and its default."""

    sentence: str
    low: float | None = None
    high: float | None = None
    check: Check | None = None
    default_text: str | None = None


class Section(Protocol):
    """Any dataclass of the schema."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def option(
    default: T,
    sentence: str,
    *,
    low: float | None = None,
    high: float | None = None,
    check: Check | None = None,
    default_text: str | None = None,
) -> T:
    """A field of a section. `check` says what is wrong with a value; `default_text` describes one that depends."""
    return field(default=default, metadata={_RULE: Rule(sentence, low, high, check, default_text)})


def section(default: T, sentence: str) -> T:
    """A field that holds a section of its own; options that aren't given keep those of `default`."""
    return field(default=default, metadata={_RULE: Rule(sentence)})


@dataclass(frozen=True, slots=True)
class Option:
    """One field of a section, as the reader and the reference page see it."""

    name: str
    type: Any
    default: Any
    rule: Rule


def options_of(cls: type) -> tuple[Option, ...]:
    """The options of a section in the order they are written. Raises TypeError for one without a sentence."""
    hints = get_type_hints(cls)
    listed = fields(cast("type[Section]", cls))
    return tuple(Option(f.name, hints[f.name], f.default, _rule_of(cls, f)) for f in listed)


def _rule_of(cls: type, f: Field[Any]) -> Rule:
    rule = f.metadata.get(_RULE)
    if not isinstance(rule, Rule) or f.default is MISSING:
        raise TypeError(f"{cls.__name__}.{f.name} must be made by `option` or `section`")
    return rule


def is_section(kind: Any) -> bool:
    return isinstance(kind, type) and is_dataclass(kind)
