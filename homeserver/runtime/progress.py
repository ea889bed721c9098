"""Long work tells how far it is; who started it decides whether to show that."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    def __call__(self, what: str, done: int, total: int) -> None:
        """`done` of `total` steps of what is under way; the last call has both alike."""
        ...


def unseen(what: str, done: int, total: int) -> None:
    """For those who don't look."""
