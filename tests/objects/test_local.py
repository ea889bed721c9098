"""Objects in a folder: whole or not at all, and no descriptor left or closed twice."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from homeserver.objects import local
from homeserver.objects.local import LocalObjects
from homeserver.objects.store import NoSuchObject
from homeserver.runtime.clock import SystemClock
from homeserver.runtime.ids import SystemRandomness


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    return LocalObjects(tmp_path, SystemRandomness(), SystemClock())


async def pieces(*data: bytes) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def read(objects: LocalObjects, name: str) -> bytes:
    return b"".join([piece async for piece in objects.get(name)])


def descriptors() -> set[str]:
    """What this process has open below a folder of tests."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add(os.readlink(f"/proc/self/fd/{number}"))
        except FileNotFoundError:
            continue
    return {name for name in found if "/parts/" in name or name.endswith("/object")}


def parts(folder: Path) -> list[Path]:
    return list((folder / "parts").glob("*"))


async def test_an_object_comes_back_whole(objects: LocalObjects, tmp_path: Path) -> None:
    await objects.put("a/object", pieces(b"x" * 300_000, b"", b"y"))
    assert await read(objects, "a/object") == b"x" * 300_000 + b"y"
    await objects.put("a/object", pieces(b"new"))
    assert await read(objects, "a/object") == b"new" and await objects.size("a/object") == 3
    assert parts(tmp_path) == [] and descriptors() == set()
    assert (tmp_path / "a" / "object").stat().st_mode & 0o077 == 0
    with pytest.raises(NoSuchObject):
        await read(objects, "a/nothing")


@pytest.mark.parametrize("name", ["", "..", "a/../b", "/etc/passwd", "a//b", "a\x00b", "a/", ".hidden"])
async def test_a_name_never_leaves_the_folder(objects: LocalObjects, name: str) -> None:
    """T-K1: whatever a name says, it is no path of ours."""
    with pytest.raises(ValueError, match="not a name"):
        await objects.put(name, pieces(b"x"))


async def test_a_failed_upload_leaves_nothing(objects: LocalObjects, tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await objects.put("object", broken())
    assert await objects.size("object") is None
    assert parts(tmp_path) == [] and descriptors() == set()


async def test_a_failed_rename_closes_its_descriptor_once(
    objects: LocalObjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The number may belong to another request by then: closing it again would cut that one off."""
    others: list[int] = []

    def fail(_source: Path, _target: Path) -> None:
        others.append(os.open(tmp_path, os.O_RDONLY))  # takes the number that has just become free
        raise OSError("on purpose")

    monkeypatch.setattr(local, "_rename", fail)
    with pytest.raises(OSError, match="on purpose"):
        await objects.put("object", pieces(b"x"))
    os.close(others[0])  # fails if it was closed for us


async def test_a_cancelled_upload_waits_for_its_thread(objects: LocalObjects, tmp_path: Path) -> None:
    started, never = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        started.set()
        await never.wait()

    task = asyncio.create_task(objects.put("object", slow()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert parts(tmp_path) == [] and descriptors() == set()
