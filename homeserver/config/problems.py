"""What is wrong with a configuration, where it stands, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One wrong thing. `where` is `FILE:LINE`, the name of an environment variable, or empty."""

    message: str
    hint: str
    where: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.message}\nhint: {self.hint}"


class ConfigError(Exception):
    """A configuration that can't be used: all that is wrong with it, each with its hint."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def hint(self) -> str:
        """What to do about the first problem."""
        return self.problems[0].hint
