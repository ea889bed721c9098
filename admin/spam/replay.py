"""What was said before, judged again: in a process of its own, so that ten million events slow nobody down.

The process holds one trial. It gets events as they are stored, a chunk at a time, in the order in which they came.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import Iterable, Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol

import orjson

from admin.spam.facts import LONG_AGO_S, NOWHERE, Happening, Place, Sender
from admin.spam.gate import REMOTE_HOOKS, hook_of
from admin.spam.rules import Lists, Rule, Wordlist
from admin.spam.trial import Trial

_LOOK_S, _END_S = 0.2, 5.0


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
    shared: int = 0


class Replay:
    """A trial, and the rooms that its events are in."""

    def __init__(self, rule: Rule, lists: Sequence[Wordlist], others: Sequence[Rule]) -> None:
        """Raises WrongRule, WrongCondition."""
        self._trial = Trial(rule, Lists(lists), others)

    def take(self, lines: Iterable[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        """What was found until now, as JSON."""
        wanted, take = self._trial.wanted, self._trial.take
        # By name once: this is gone through ten million times.
        for room_id, event_id, user_id, sent_ms, json, is_local, known_ms, power, shared in lines:
            event: dict[str, Any] = orjson.loads(json)
            type, content, state_key = event["type"], event["content"], event.get("state_key")
            hook = hook_of(type, user_id, state_key, content)
            if hook is not None and not is_local:
                hook = REMOTE_HOOKS.get(hook, hook)
            if hook not in wanted:
                continue
            what = Happening(
                hook=hook,
                sender=user_id,
                at_s=sent_ms / 1_000,
                type=type,
                state_key=state_key,
                content=content,
                room_id=room_id,
                event_id=event_id,
            )
            age_s = max(0, sent_ms - known_ms) // 1_000 if known_ms is not None else LONG_AGO_S
            take(
                what,
                Sender(local=is_local, age_s=age_s, power=power, shared_rooms=shared),
                places.get(room_id, NOWHERE),
            )
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
        self._turn = threading.Lock()
        self._is_closed = False
        self._here, self._there = context.Pipe()
        self._process = context.Process(target=_serve, args=(self._there, rule, lists, others), daemon=True)

    async def take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        return await asyncio.to_thread(self._take, lines, places)

    def _take(self, lines: Sequence[Line], places: Mapping[str, Place]) -> dict[str, Any]:
        with self._turn:
            if self._is_closed:
                raise EOFError
            if self._process.pid is None:
                self._process.start()
                self._there.close()
        # By column: objects of a class of ours would take three times as long on both sides.
        self._here.send(([*zip(*lines, strict=True)], places))
        while not self._here.poll(_LOOK_S):  # so that this thread ends, whatever becomes of the process
            if self._is_closed:
                raise EOFError
        found: dict[str, Any] = self._here.recv()
        return found

    async def close(self) -> None:
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        with self._turn:
            self._is_closed = True
            if self._process.pid is not None:
                self._process.terminate()
                self._process.join(_END_S)
                self._process.kill()


def _serve(there: Connection, rule: Rule, lists: Sequence[Wordlist], others: Sequence[Rule]) -> None:
    """What the process does: until its pipe ends."""
    replay = Replay(rule, lists, others)
    while True:
        try:
            columns, places = there.recv()
        except EOFError:
            return
        lines: Iterable[Any] = zip(*columns, strict=True)
        there.send(replay.take(lines, places))
