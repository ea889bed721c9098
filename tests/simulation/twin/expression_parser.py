"""SQL's expressions as trees of tuples: ("kind", parts...)."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from tests.simulation.twin.lexing import NotUnderstood, Token, tokens_of

Tree = Any  # a tuple: its kind, and its parts

ENDS = frozenset(
    "from where group having order limit offset union intersect except returning on using join left inner cross "
    "right full as for set values and or not then else end when is in between like collate asc desc nulls do "
    "default references check primary unique generated constraint filter lateral window".split()
)
_COMPARES = frozenset(["=", "<>", "!=", "<", ">", "<=", ">=", "@>", "<@", "&&"])


class ExpressionParser:
    """Reads one statement from its beginning."""

    def __init__(self, sql: str) -> None:
        self.sql = sql
        self._tokens = tokens_of(sql)
        self._at = 0

    # --- tokens

    @property
    def token(self) -> Token:
        return self._tokens[self._at]

    def next(self) -> Token:
        token = self._tokens[self._at]
        self._at += 1
        return token

    def fail(self) -> NotUnderstood:
        rest = " ".join(token.text for token in self._tokens[self._at : self._at + 8])
        return NotUnderstood(f"no meaning at {rest!r} in: {self.sql}")

    def sees(self, *words: str) -> bool:
        """Whether these words or signs come next."""
        coming = self._tokens[self._at : self._at + len(words)]
        return len(coming) == len(words) and all(
            one.text == word and one.kind in ("word", "sign") for one, word in zip(coming, words, strict=True)
        )

    def takes(self, *words: str) -> bool:
        """Whether these come next; then they are read."""
        if self.sees(*words):
            self._at += len(words)
            return True
        return False

    def want(self, *words: str) -> None:
        if not self.takes(*words):
            raise self.fail()

    def name(self) -> str:
        if self.token.kind != "word":
            raise self.fail()
        return self.next().text

    def names(self) -> list[str]:
        """A list of names in brackets."""
        self.want("(")
        found = [self.name()]
        while self.takes(","):
            found.append(self.name())
        self.want(")")
        return found

    @abstractmethod
    def select(self) -> Tree:
        """A whole SELECT, for where one stands within an expression."""

    # --- from the weakest operator to the strongest

    def expression(self) -> Tree:
        left = self._conjunction()
        while self.takes("or"):
            left = ("or", left, self._conjunction())
        return left

    def _conjunction(self) -> Tree:
        left = self._negation()
        while self.takes("and"):
            left = ("and", left, self._negation())
        return left

    def _negation(self) -> Tree:
        if self.takes("not"):
            return ("not", self._negation())
        return self._being(self._comparison())

    def _being(self, left: Tree) -> Tree:
        while self.takes("is"):
            negated = self.takes("not")
            if self.takes("null"):
                left = ("is_null", left)
            elif self.takes("distinct", "from"):
                left, negated = ("distinct_from", left, self._comparison()), negated
            elif self.sees("true") or self.sees("false"):
                left = ("is_bool", left, self.next().text == "true")
            else:
                raise self.fail()
            left = ("not", left) if negated else left
        return left

    def _comparison(self) -> Tree:
        left = self._membership()
        while self.token.kind == "sign" and self.token.text in _COMPARES:
            sign = self.next().text
            sign = "<>" if sign == "!=" else sign
            if self.sees("any") or self.sees("all"):
                how = self.next().text
                self.want("(")
                inside = ("subquery", self.select()) if self._sees_select() else self.expression()
                self.want(")")
                left = (how, sign, left, inside)
            else:
                left = ("compare", sign, left, self._membership())
        return left

    def _membership(self) -> Tree:
        left = self._joined()
        while True:
            negated = self.sees("not") and self._tokens[self._at + 1].text in ("in", "between", "like")
            if negated:
                self.next()
            if self.takes("in"):
                found: Tree = self._in(left)
            elif self.takes("between"):
                low = self._joined()
                self.want("and")
                found = ("and", ("compare", ">=", left, low), ("compare", "<=", left, self._joined()))
            elif self.takes("like"):
                found = ("like", left, self._joined())
            else:
                return left
            left = ("not", found) if negated else found

    def _in(self, left: Tree) -> Tree:
        self.want("(")
        if self._sees_select():
            found: Tree = ("any", "=", left, ("subquery", self.select()))
        else:
            options = [self.expression()]
            while self.takes(","):
                options.append(self.expression())
            found = ("any", "=", left, ("array", tuple(options)))
        self.want(")")
        return found

    def _joined(self) -> Tree:
        left = self._sum()
        while self.sees("||") or self.sees("&") or self.sees("|"):
            left = ("arithmetic", self.next().text, left, self._sum())
        return left

    def _sum(self) -> Tree:
        left = self._product()
        while self.sees("+") or self.sees("-"):
            left = ("arithmetic", self.next().text, left, self._product())
        return left

    def _product(self) -> Tree:
        left = self._sign()
        while self.sees("*") or self.sees("/") or self.sees("%"):
            left = ("arithmetic", self.next().text, left, self._sign())
        return left

    def _sign(self) -> Tree:
        if self.takes("-"):
            return ("negative", self._sign())
        return self._after(self._primary())

    def _after(self, left: Tree) -> Tree:
        """Casts, subscripts, collations."""
        while True:
            if self.takes("::"):
                left = ("cast", left, self.type_name())
            elif self.takes("collate"):
                if self.name() != "C":
                    raise self.fail()
            elif self.takes("["):
                low = None if self.sees(":") else self.expression()
                if self.takes(":"):
                    high = None if self.sees("]") else self.expression()
                    left = ("slice", left, low, high)
                else:
                    left = ("element", left, low)
                self.want("]")
            else:
                return left

    def type_name(self) -> str:
        name = self.name()
        if self.takes("("):
            self.next()
            self.want(")")
        if name == "double":
            self.want("precision")
        while self.takes("[", "]"):
            name += "[]"
        return name

    def _sees_select(self) -> bool:
        return self.sees("select") or self.sees("with") or self.sees("values")

    def _primary(self) -> Tree:
        token = self.token
        if token.kind == "param":
            return ("param", int(self.next().text[1:]) - 1)
        if token.kind == "string":
            return ("value", self.next().text)
        if token.kind == "number":
            text = self.next().text
            return ("value", float(text) if "." in text else int(text))
        if self.takes("("):
            return self._bracket()
        if token.kind == "word":
            return self._word()
        raise self.fail()

    def _bracket(self) -> Tree:
        if self._sees_select():
            found: Tree = ("scalar", self.select())
        else:
            parts = [self.expression()]
            while self.takes(","):
                parts.append(self.expression())
            found = parts[0] if len(parts) == 1 else ("row", tuple(parts))
        self.want(")")
        return found

    def _word(self) -> Tree:
        for word, value in (("null", None), ("true", True), ("false", False)):
            if self.takes(word):
                return ("value", value)
        if self.takes("case"):
            return self._case()
        if self.takes("exists", "("):
            inner = self.select()
            self.want(")")
            return ("exists", inner)
        if self.takes("array", "["):
            parts = []
            while not self.takes("]"):
                parts.append(self.expression())
                self.takes(",")
            return ("array", tuple(parts))
        if self.takes("array", "("):
            inner = self.select()
            self.want(")")
            return ("array_of", inner)
        name = self.name()
        if name in ENDS and not self.sees("("):
            self._at -= 1
            raise self.fail()
        if self.takes("("):
            return self._call(name)
        if self.takes("."):
            if self.takes("*"):
                return ("star", name)
            return ("column", name, self.name())
        return ("column", None, name)

    def _case(self) -> Tree:
        given = None if self.sees("when") else self.expression()
        whens = []
        while self.takes("when"):
            condition = self.expression()
            self.want("then")
            whens.append((condition if given is None else ("compare", "=", given, condition), self.expression()))
        otherwise = self.expression() if self.takes("else") else ("value", None)
        self.want("end")
        return ("case", tuple(whens), otherwise)

    def _call(self, name: str) -> Tree:
        """A call with all that may follow it. Words between arguments separate them as commas do."""
        if name == "extract":
            field = self.name()
            self.want("from")
            inner = self.expression()
            self.want(")")
            return ("call", "extract", (("value", field), inner), False, (), None)
        arguments: list[Tree] = []
        order: tuple[Tree, ...] = ()
        distinct = self.takes("distinct")
        if self.takes("*"):
            arguments.append(("value", 1))
        while not self.takes(")"):
            if name == "position" and not arguments:
                arguments.append(self._joined())
            else:
                arguments.append(self.expression())
            if self.takes("order", "by"):
                order = self.ordering()
            elif not (self.takes(",") or self.takes("from") or self.takes("for") or self.takes("in")):
                self.want(")")
                break
        condition = None
        if self.takes("filter", "("):
            self.want("where")
            condition = self.expression()
            self.want(")")
        return ("call", name, tuple(arguments), distinct, order, condition)

    def ordering(self) -> tuple[Tree, ...]:
        """What follows ORDER BY: (expression, falls, nulls come first)."""
        found = []
        while True:
            expression = self.expression()
            falls = self.takes("desc")
            if not falls:
                self.takes("asc")
            nulls_first = falls
            if self.takes("nulls", "first"):
                nulls_first = True
            elif self.takes("nulls", "last"):
                nulls_first = False
            found.append((expression, falls, nulls_first))
            if not self.takes(","):
                return tuple(found)
