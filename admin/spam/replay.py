"""What was said before, judged again: in a process of its own, so that ten million events slow nobody down.

The process holds one trial. It gets events as they are stored, a chunk at a time, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple, Protocol

import orjson

from admin.spam.facts import LONG_AGO_S, NOWHERE, Happening, Place, Sender
from admin.spam.gate import REMOTE_HOOKS, hook_of
from admin.spam.rules import Lists, Rule, Wordlist
from admin.spam.trial import Trial


class Line(NamedTuple):
    """An event as it is stored, with what is known of its sender. Times in milliseconds, None for not known."""

    room_id: str
    event_id: str
    sender: str
    sent_ms: int
    json: bytes
    is_local: bool
    known_ms: int | None
    power: int


class Replay:
    """A trial, and the rooms that its events are in."""

    def __init__(self, rule: Rule, lists: Sequence[Wordlist], others: Sequence[Rule]) -> None:
        """Raises WrongRule, WrongCondition."""
        self._trial = Trial(rule, Lists(lists), others)

    def take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        """What was found until now, as JSON."""
        wants, take = self._trial.wants, self._trial.take
        for line in lines:
            event: dict[str, Any] = orjson.loads(line.json)
            type, content, state_key = event["type"], event["content"], event.get("state_key")
            hook = hook_of(type, line.sender, state_key, content)
            if hook is None:
                continue
            if not line.is_local:
                hook = REMOTE_HOOKS.get(hook, hook)
            if not wants(hook):
                continue
            what = Happening(
                hook=hook,
                sender=line.sender,
                at_s=line.sent_ms / 1_000,
                type=type,
                state_key=state_key,
                content=content,
                room_id=line.room_id,
                event_id=line.event_id,
            )
            age_s = max(0, line.sent_ms - line.known_ms) // 1_000 if line.known_ms is not None else LONG_AGO_S
            sender = Sender(local=line.is_local, age_s=age_s, power=line.power)
            take(what, sender, places.get(line.room_id, NOWHERE))
        return self._trial.tally.shown()


class Replaying(Protocol):
    """Takes chunks beside the event loop."""

    async def take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]: ...

    async def close(self) -> None: ...


class InThread:
    """For a short history: a process would take longer to begin."""

    def __init__(self, rule: Rule, lists: Sequence[Wordlist], others: Sequence[Rule]) -> None:
        self._given = (rule, lists, others)
        self._replay: Replay | None = None

    async def take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        return await asyncio.to_thread(self._take, lines, places)

    def _take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        self._replay = self._replay or Replay(*self._given)
        return self._replay.take(lines, places)

    async def close(self) -> None:
        return None


class InProcess:
    """For a long one. The process ends with `close`, in the middle of a chunk if need be."""

    def __init__(self, rule: Rule, lists: Sequence[Wordlist], others: Sequence[Rule]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_begin, initargs=(rule, lists, others))

    async def take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        return await asyncio.get_running_loop().run_in_executor(self._pool, _take, lines, places)

    async def close(self) -> None:
        for process in list((self._pool._processes or {}).values()):
            process.terminate()
        self._pool.shutdown(wait=False, cancel_futures=True)


_begun: list[Replay] = []


def _begin(rule: Rule, lists: Sequence[Wordlist], others: Sequence[Rule]) -> None:
    _begun.append(Replay(rule, lists, others))


def _take(lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
    return _begun[0].take(lines, places)
