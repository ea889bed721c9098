"""Python plug-ins: what rules can't say, in packages of the operator's own.

A package names a class under the entry point group `hansa.spam_plugins`; the configuration names which are in force.
Each is called in threads of its own, with a time limit; one that fails or is late time and again rests for a while, and
nothing that people do waits for it meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

import structlog

from admin.spam.facts import Happening, Place, Sender
from admin.spam.rules import ACTIONS, HOOKS, Action, Limits, Rule
from homeserver.runtime.clock import Clock

log = structlog.get_logger()

GROUP = "hansa.spam_plugins"
TIME_LIMIT_S = 0.25
THREADS = 2
FAULTS_MAX = 5
FAULTS_WITHIN_S = 60.0
REST_S = 300.0
REASON_CHARS_MAX = 1_000
# What needs more than a reason is what rules are for.
OPINIONS = frozenset(ACTIONS) - {"mask", "notify", "webhook", "lock", "quiet", "captcha"}


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a plug-in wants done: one of OPINIONS, and what the sender is told. `seconds` for rate_limit."""

    kind: str
    reason: str = ""
    seconds: int = 60


class SpamPlugin(Protocol):
    """What a plug-in is: an object that the entry point's callable makes, without arguments.

    `hooks` says what it looks at, as in rules. `judge` gets what happens, who does it and where, all read-only, and
    answers with an opinion, or None. It may take TIME_LIMIT_S; it is called in several threads at once, and must not
    touch the server's event loop. What it raises is counted, and never seen by anybody who writes a message.
    """

    @property
    def hooks(self) -> Collection[str]: ...

    def judge(self, what: Happening, sender: Sender, place: Place) -> Opinion | None: ...


@dataclass(slots=True)
class _Guest:
    name: str
    plugin: SpamPlugin
    pool: ThreadPoolExecutor
    faults: deque[float] = field(default_factory=deque)
    rests_until_s: float = 0.0
    why: str = ""
    under_way: int = 0


class Plugins:
    """Asks plug-ins, each behind a wall of its own."""

    def __init__(self, plugins: Mapping[str, SpamPlugin], clock: Clock) -> None:
        self._clock = clock
        self._guests = [
            _Guest(name, plugin, ThreadPoolExecutor(THREADS, thread_name_prefix=f"spam_{name}"))
            for name, plugin in plugins.items()
        ]
        self.hooks = frozenset(hook for guest in self._guests for hook in guest.plugin.hooks if hook in HOOKS)

    async def opinions(self, what: Happening, sender: Sender, place: Place) -> list[tuple[str, Rule]]:
        """What they want done: the plug-in's name, and a rule of its own. Never raises for a plug-in's sake."""
        asked = [guest for guest in self._guests if what.hook in guest.plugin.hooks and self._is_awake(guest)]
        found = await asyncio.gather(*(self._ask(guest, what, sender, place) for guest in asked))
        return [
            (guest.name, rule_of(guest.name, what.hook, one))
            for guest, one in zip(asked, found, strict=True)
            if one is not None
        ]

    def rest(self, name: str, why: str) -> None:
        """Leaves a plug-in alone for a while."""
        for guest in self._guests:
            if guest.name == name:
                guest.rests_until_s, guest.why = self._clock.monotonic_s() + REST_S, why
                guest.faults.clear()
                log.error("spam_plugin_rests", plugin=name, seconds=REST_S, why=why[:300])

    def shown(self) -> list[dict[str, object]]:
        """As JSON: each with what it looks at, and why it rests, if it does."""
        return [
            {
                "name": guest.name,
                "hooks": sorted(guest.plugin.hooks),
                "rests": guest.why if not self._is_awake(guest) else None,
            }
            for guest in self._guests
        ]

    def close(self) -> None:
        """Lets go of the threads; what is under way ends by itself."""
        for guest in self._guests:
            guest.pool.shutdown(wait=False, cancel_futures=True)

    def _is_awake(self, guest: _Guest) -> bool:
        return self._clock.monotonic_s() >= guest.rests_until_s

    async def _ask(self, guest: _Guest, what: Happening, sender: Sender, place: Place) -> Opinion | None:
        if guest.under_way >= THREADS * 8:
            self._fault(guest, "too many calls are under way")
            return None
        guest.under_way += 1
        call = asyncio.get_running_loop().run_in_executor(guest.pool, guest.plugin.judge, what, sender, place)
        call.add_done_callback(lambda _: _done(guest))
        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                opinion = await asyncio.shield(call)
        except TimeoutError:
            self._fault(guest, f"it took more than {TIME_LIMIT_S:g} s")
            return None
        except Exception as error:
            self._fault(guest, f"{type(error).__name__}: {str(error)[:200]}")
            return None
        if opinion is None or _is_sound(opinion):
            return opinion
        self._fault(guest, "its answer is no opinion")
        return None

    def _fault(self, guest: _Guest, why: str) -> None:
        now_s = self._clock.monotonic_s()
        log.warning("spam_plugin_failed", plugin=guest.name, why=why)
        guest.faults.append(now_s)
        while guest.faults[0] < now_s - FAULTS_WITHIN_S:
            guest.faults.popleft()
        if len(guest.faults) >= FAULTS_MAX:
            self.rest(guest.name, f"it failed time and again: {why}")


def load_plugins(
    names: Sequence[str], installed: Callable[[], Collection[EntryPoint]] = lambda: entry_points(group=GROUP)
) -> dict[str, SpamPlugin]:
    """Those that the configuration names. Raises WrongPlugin, so that the server doesn't start without one unseen."""
    known = {point.name: point for point in installed()} if names else {}
    made: dict[str, SpamPlugin] = {}
    for name in names:
        if name not in known:
            raise WrongPlugin(f"no package that is installed has the spam plug-in {name!r}")
        try:
            plugin = known[name].load()()
            wrong = [hook for hook in plugin.hooks if hook not in HOOKS]
        except Exception as error:
            raise WrongPlugin(f"the spam plug-in {name!r} can't be made: {error}") from error
        if wrong or not callable(getattr(plugin, "judge", None)):
            raise WrongPlugin(f"the spam plug-in {name!r} has no judge, or looks at {wrong or 'nothing'}")
        made[name] = plugin
    return made


class WrongPlugin(Exception):
    """A plug-in that is named and can't be used."""


def rule_of(name: str, hook: str, opinion: Opinion) -> Rule:
    """What decisions of a plug-in are recorded under, and braked as."""
    return Rule(
        id=f"plugin-{name}"[:64],
        title=f"The plug-in {name}",
        when=(hook,),
        condition="true",
        actions=(Action(kind=opinion.kind, reason=opinion.reason, seconds=opinion.seconds),),
        stage="enforced",
        limits=Limits(),
    )


def _is_sound(given: Any) -> bool:
    """Whether it is an opinion: what a plug-in answers has the types that it says only if its author took care."""
    if not isinstance(given, Opinion):
        return False
    kind: Any = given.kind
    reason: Any = given.reason
    seconds: Any = given.seconds
    is_said = isinstance(reason, str) and len(reason) <= REASON_CHARS_MAX
    return kind in OPINIONS and is_said and isinstance(seconds, int) and 1 <= seconds <= 31_536_000


def _done(guest: _Guest) -> None:
    guest.under_way -= 1
