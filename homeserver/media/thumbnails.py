"""Smaller pictures. They are decoded in a process of their own: a picture made to harm takes down only that."""

from __future__ import annotations

import asyncio
import io
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context

SECONDS_MAX = 20.0
WAITING_MAX = 100
THUMBNAIL_SOURCE_BYTES_MAX = 50 * 1024 * 1024


class NoThumbnail(Exception):
    """This can't be shown smaller: no picture that we know, too large a one, or a broken one."""


@dataclass(frozen=True, slots=True)
class Size:
    """A size that thumbnails come in. `method` is crop (exactly this shape) or scale (at most this large)."""

    width: int
    height: int
    method: str

    @property
    def name(self) -> str:
        return f"{self.width}x{self.height}-{self.method}"


def choose(sizes: tuple[Size, ...], width: int, height: int, method: str) -> Size:
    """The smallest configured size that is at least what was asked for, or the largest one."""
    same = [size for size in sizes if size.method == method] or list(sizes)
    large = [size for size in same if size.width >= width and size.height >= height]
    if large:
        return min(large, key=lambda size: size.width * size.height)
    return max(same, key=lambda size: size.width * size.height)


class Thumbnailer:
    """Makes thumbnails, a few at a time."""

    def __init__(self, pixels_max: int) -> None:
        self._pixels_max = pixels_max
        self._pool: ProcessPoolExecutor | None = None
        self._waiting = 0

    async def make(self, source: bytes, size: Size) -> tuple[bytes, str]:
        """The thumbnail and its type. Raises NoThumbnail."""
        if self._waiting >= WAITING_MAX:
            raise NoThumbnail("too many thumbnails are being made")
        self._waiting += 1
        try:
            async with asyncio.timeout(SECONDS_MAX):
                loop = asyncio.get_running_loop()
                made = await loop.run_in_executor(self._running_pool(), _make, source, size, self._pixels_max)
        except (TimeoutError, BrokenProcessPool):
            self.close()
            raise NoThumbnail("this picture can't be made smaller") from None
        finally:
            self._waiting -= 1
        if made is None:
            raise NoThumbnail("this is no picture that can be made smaller")
        return made

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _running_pool(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=500)
        return self._pool


def _make(source: bytes, size: Size, pixels_max: int) -> tuple[bytes, str] | None:
    """Runs in the process. None for what isn't a picture, or one that is too large."""
    from PIL import Image, ImageOps

    Image.MAX_IMAGE_PIXELS = pixels_max
    try:
        with Image.open(io.BytesIO(source), formats=("PNG", "JPEG", "GIF", "WEBP", "AVIF")) as opened:
            if opened.width * opened.height > pixels_max:
                return None
            opened.draft("RGB", (size.width * 2, size.height * 2))
            picture = ImageOps.exif_transpose(opened)
            has_alpha = picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info
            picture = picture.convert("RGBA" if has_alpha else "RGB")
            if size.method == "crop":
                picture = ImageOps.fit(picture, (size.width, size.height))
            else:
                picture.thumbnail((size.width, size.height))
            output = io.BytesIO()
            picture.save(output, "PNG" if has_alpha else "JPEG", **({} if has_alpha else {"quality": 82}))
    except Exception:  # whatever a decoder makes of hostile bytes: it is no picture
        return None
    return output.getvalue(), "image/png" if has_alpha else "image/jpeg"
