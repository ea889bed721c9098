"""What a tier tells of itself to be compared with the database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Tally:
    """How many documents, and the sum of their checksums."""

    documents: int
    checksums: int

    def plus(self, checksum: int) -> Tally:
        """With one more."""
        return Tally(self.documents + 1, self.checksums + checksum)


@dataclass(frozen=True, slots=True)
class Held:
    """A document as a tier has it. `event_id` is empty where the tier doesn't know it."""

    event_nid: int
    event_id: str
    checksum: int


# (month of receipt, room number) → what there is.
Census = Mapping[tuple[str, int], Tally]


class CountedTier(Protocol):
    """A tier whose contents can be compared with the database."""

    async def open(self) -> bool:
        """Whether it can be read."""
        ...

    async def count(self) -> int:
        """How many events it finds. Raises TierFault."""
        ...

    async def census(self) -> Census:
        """Raises TierFault."""
        ...

    async def held(self, month: str, room_nid: int) -> Sequence[Held]:
        """Of one group of the census. Raises TierFault."""
        ...

    async def health(self) -> str:
        """How what keeps it is, in a few words; empty where nothing is apart from this server. Raises TierFault."""
        ...

    async def close(self) -> None: ...
