"""Plug-ins of the operator's own: asked, isolated, braked; a package as one would write it."""

from __future__ import annotations

import sys
import threading
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from admin.spam.facts import Happening, Place, Sender
from admin.spam.plugins import FAULTS_MAX, REST_S, Opinion, Plugins, WrongPlugin, load_plugins
from tests.admin.people import crew_of
from tests.admin.spam.test_rules_over_http import SPAM, latest, say
from tests.kit.clock import FakeClock
from tests.kit.server import running_server

# What a package of an operator's looks like: a module, and an entry point in its metadata.
MODULE = '''
from admin.spam.plugins import Opinion


class NoZebras:
    """Refuses messages about zebras, and registrations in capital letters."""

    hooks = ("event", "registration")

    def judge(self, what, sender, place):
        if what.hook == "event" and "zebra" in str((what.content or {}).get("body", "")).lower():
            return Opinion("deny", "this is no place for zebras")
        return None
'''
POINTS = "[hansa.spam_plugins]\nno-zebras = hansa_no_zebras:NoZebras\n"


@pytest.fixture
def package(tmp_path: Path) -> Iterator[str]:
    """Installed as pip would: a module on the path, and a dist-info beside it."""
    (tmp_path / "hansa_no_zebras.py").write_text(MODULE)
    info = tmp_path / "hansa_no_zebras-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: hansa-no-zebras\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(POINTS)
    sys.path.insert(0, str(tmp_path))
    yield "no-zebras"
    sys.path.remove(str(tmp_path))
    sys.modules.pop("hansa_no_zebras", None)


@pytest.mark.slow
async def test_a_package_is_asked(database_dsn: str, package: str) -> None:
    async with running_server(database_dsn, toml=f'[admin]\nspam_plugins = ["{package}"]\n') as server:
        crew = await crew_of(server)
        room_id = await crew.user.create_room()
        (await say(crew.user, room_id, "a horse")).ok()
        refused = (await say(crew.user, room_id, "a Zebra")).refused(403, "M_FORBIDDEN")
        assert refused["error"].startswith("this is no place for zebras (to appeal: ")
        [decision] = await latest(crew)
        assert (decision["rule_id"], decision["outcome"]) == ("plugin-no-zebras", "deny")
        shown = (await crew.auditor.get(SPAM + "/plugins")).ok()["plugins"]
        assert shown == [{"name": "no-zebras", "hooks": ["event", "registration"], "rests": None}]
        (await crew.user.get(SPAM + "/plugins")).refused(403, "M_FORBIDDEN")


def point(target: str) -> EntryPoint:
    return EntryPoint("p", f"tests.admin.spam.test_plugins:{target}", "hansa.spam_plugins")


class Empty:
    hooks = ("nothing",)

    def judge(self, what: Happening, sender: Sender, place: Place) -> Opinion | None:
        return None


class Broken:
    hooks = ("event",)

    def __init__(self) -> None:
        raise RuntimeError("no licence")


@pytest.mark.parametrize(
    ("names", "points", "hint"),
    [
        (["other"], [], "no package that is installed"),
        (["p"], [point("Empty")], "looks at ['nothing']"),
        (["p"], [point("Broken")], "no licence"),
        (["p"], [point("Missing")], "can't be made"),
    ],
)
def test_the_server_does_not_start_without_one(names: list[str], points: list[EntryPoint], hint: str) -> None:
    with pytest.raises(WrongPlugin, match=hint.replace("[", r"\[")):
        load_plugins(names, lambda: points)


class Fake:
    """Answers as it is told to."""

    hooks = ("event",)

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked = 0

    def judge(self, what: Happening, sender: Sender, place: Place) -> Opinion | None:
        self.asked += 1
        if isinstance(self.answer, Exception):
            raise self.answer
        if isinstance(self.answer, threading.Event):
            self.answer.wait(10)
            return None
        found: Opinion | None = self.answer
        return found


WHAT = Happening(hook="event", sender="@a:x.org", at_s=0)
ASKED = (WHAT, Sender(local=True), Place())


@pytest.fixture
async def stuck() -> AsyncIterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("answer", [RuntimeError("x"), "deny", Opinion("explode"), Opinion("deny", "x" * 5_000)])
async def test_one_that_fails_rests_and_is_tried_again(answer: Any) -> None:
    """Whatever it does, others are heard, and nobody who writes a message sees it."""
    clock = FakeClock()
    bad, good = Fake(answer), Fake(Opinion("deny", "no"))
    plugins = Plugins({"bad": bad, "good": good}, clock)
    for _ in range(FAULTS_MAX + 3):
        assert [name for name, _ in await plugins.opinions(*ASKED)] == ["good"]
    assert (bad.asked, good.asked) == (FAULTS_MAX, FAULTS_MAX + 3)
    assert [bool(one["rests"]) for one in plugins.shown()] == [True, False]
    clock.advance(REST_S)
    bad.answer = Opinion("tag")
    assert [name for name, _ in await plugins.opinions(*ASKED)] == ["bad", "good"]
    plugins.close()


@pytest.mark.slow
async def test_one_that_hangs_holds_nobody_up_for_long(stuck: threading.Event) -> None:
    """T-H16: a call that never ends costs its time limit, a few times, and then nothing."""
    clock = FakeClock()
    hanging = Fake(stuck)
    plugins = Plugins({"hanging": hanging}, clock)
    for _ in range(FAULTS_MAX + 3):
        assert await plugins.opinions(*ASKED) == []
    assert plugins.shown()[0]["rests"] is not None
    assert hanging.asked <= FAULTS_MAX
    plugins.close()
