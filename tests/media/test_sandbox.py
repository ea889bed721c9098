"""The processes that read hostile files: bounded, killed when they hang, and without anything of ours."""

from __future__ import annotations

import asyncio
import io
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from homeserver.core.errors import LimitExceeded
from homeserver.media import worker
from homeserver.media.sandbox import Sandbox, SandboxFault, SandboxLimits

JOB = {
    "job": "thumbnail",
    "width": 32,
    "height": 32,
    "method": "scale",
    "animated": False,
    "pixels_max": 50_000_000,
}


def picture(width: int, height: int, kind: str = "PNG", **more: Any) -> bytes:
    output = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(output, kind, **more)
    return output.getvalue()


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 65_536):
        yield data[start : start + 65_536]


async def run(sandbox: Sandbox, data: bytes, **job: Any) -> tuple[dict[str, Any], bytes]:
    return await sandbox.run({**JOB, **job}, pieces(data), len(data))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "AVIF"])
async def test_pictures_are_made_smaller(kind: str) -> None:
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:
        answer, made = await run(sandbox, picture(400, 200, kind))
        assert (answer["width"], answer["height"]) == (32, 16)
        assert Image.open(io.BytesIO(made)).size == (32, 16)
    finally:
        await sandbox.close()


@pytest.mark.parametrize(("method", "expected"), [("crop", (10, 10)), ("scale", (20, 10))])
async def test_nothing_is_made_larger(method: str, expected: tuple[int, int]) -> None:
    """spec: client-server-api/#thumbnails: servers must not upscale; a crop keeps the shape that was asked for."""
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:
        answer, made = await run(sandbox, picture(20, 10), method=method)
        assert (answer["width"], answer["height"]) == Image.open(io.BytesIO(made)).size == expected
    finally:
        await sandbox.close()


async def test_an_avif_whose_first_brand_says_no_more_than_picture() -> None:
    """As some encoders write them: the brands that follow tell AVIF and HEIC apart."""
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:
        made = picture(400, 200, "AVIF")
        assert made[4:12] == b"ftypavif"
        answer, _ = await run(sandbox, made[:8] + b"mif1" + made[12:])
        assert (answer["width"], answer["height"]) == (32, 16)
    finally:
        await sandbox.close()


async def test_heic_is_read() -> None:
    """As telephones take pictures."""
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:
        answer, made = await run(sandbox, (Path(__file__).parent / "fixtures" / "blue.heic").read_bytes())
        assert (answer["width"], answer["height"], made[:3]) == (32, 16, b"\xff\xd8\xff")
    finally:
        await sandbox.close()


async def test_what_hangs_is_killed_and_replaced() -> None:
    """T-K6, T-K7: a decoder that never ends costs its own process, and its file alone."""
    sandbox = Sandbox(SandboxLimits(processes=1, seconds_max=1.0))
    try:
        await run(sandbox, picture(10, 10))
        (first,) = sandbox.pids
        os.kill(first, signal.SIGSTOP)
        with pytest.raises(SandboxFault) as fault:
            await run(sandbox, picture(10, 10))
        assert not fault.value.is_final
        assert not Path(f"/proc/{first}").exists()
        await run(sandbox, picture(10, 10))
        assert sandbox.pids != [first]
        os.kill(sandbox.pids[0], signal.SIGKILL)
        with pytest.raises(SandboxFault):
            await run(sandbox, picture(10, 10))
        await run(sandbox, picture(10, 10))
    finally:
        await sandbox.close()


async def test_memory_and_files_are_bounded() -> None:
    """T-K6: what wants more memory than a process may have is no picture; the process writes no file."""
    sandbox = Sandbox(SandboxLimits(processes=1, memory_bytes_max=250 * 1024 * 1024))
    try:
        await run(sandbox, picture(100, 100))
        with pytest.raises(SandboxFault):
            await run(sandbox, picture(7_000, 7_000))
        limits = Path(f"/proc/{sandbox.pids[0]}/limits").read_text()
        soft = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
        assert soft["Max address space"] == str(250 * 1024 * 1024)
        assert soft["Max file size"] == "0" and soft["Max core file size"] == "0"
        assert int(soft["Max cpu time"]) <= 60
    finally:
        await sandbox.close()


async def test_a_process_has_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """T-K7: neither secrets of the environment nor descriptors."""
    monkeypatch.setenv("HANSA_REGISTRATION__SHARED_SECRET", "a secret")
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:
        with open(__file__, "rb"):
            await run(sandbox, picture(10, 10))
            (pid,) = sandbox.pids
            assert b"secret" not in Path(f"/proc/{pid}/environ").read_bytes()
            assert len(os.listdir(f"/proc/{pid}/fd")) == 3
    finally:
        await sandbox.close()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"%!PS-Adobe-3.0\n",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"\x89PNG\r\n\x1a\n" + b"\x00" * 100,
        b"II*\x00" + b"\x00" * 100,
        b"8BPS" + b"\x00" * 100,
    ],
)
async def test_only_known_formats_are_decoded(data: bytes) -> None:
    """T-K5: by their first bytes; whatever else the library could open stays closed."""
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:
        with pytest.raises(SandboxFault) as fault:
            await run(sandbox, data)
        assert fault.value.is_final
    finally:
        await sandbox.close()


async def test_moving_pictures_move_where_that_is_wished() -> None:
    """T-K6: as long as they have few frames."""
    sandbox = Sandbox(SandboxLimits(processes=1))
    try:

        def moving(count: int) -> bytes:
            frames = [
                Image.new("RGB", (64, 64), (number * 53 % 256, number * 91 % 256, number * 17 % 256))
                for number in range(count)
            ]
            output = io.BytesIO()
            frames[0].save(output, "GIF", save_all=True, append_images=frames[1:], duration=50, loop=0)
            return output.getvalue()

        for count, animated, expected in ((5, True, 5), (5, False, 1), (worker.FRAMES_MAX + 1, True, 1)):
            _, made = await run(sandbox, moving(count), animated=animated)
            assert getattr(Image.open(io.BytesIO(made)), "n_frames", 1) == expected
    finally:
        await sandbox.close()


async def test_few_files_wait() -> None:
    """T-K6: sources are read only once it is their turn, and too many are turned away."""
    sandbox = Sandbox(SandboxLimits(processes=1, waiting_max=3))
    began = 0

    async def counted(data: bytes) -> AsyncIterator[bytes]:
        nonlocal began
        began += 1
        yield data
        assert began - ended <= 1

    ended = 0

    async def one() -> None:
        nonlocal ended
        data = picture(20, 20)
        await sandbox.run(JOB, counted(data), len(data))
        ended += 1

    try:
        results = await asyncio.gather(*(one() for _ in range(5)), return_exceptions=True)
        assert sum(isinstance(result, LimitExceeded) for result in results) == 2
        assert [result for result in results if not isinstance(result, LimitExceeded)] == [None] * 3
    finally:
        await sandbox.close()
