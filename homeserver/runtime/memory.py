"""How memory is kept for this process, by the C library and by Python."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Mapping

# Of <malloc.h>: each parameter of `mallopt`, its value for us, and what an operator sets it by.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_MIB = 1024 * 1024
_SETTINGS = (
    (_ARENA_MAX, 2, "MALLOC_ARENA_MAX"),
    (_MMAP_THRESHOLD, _MIB, "MALLOC_MMAP_THRESHOLD_"),
    (_TRIM_THRESHOLD, _MIB, "MALLOC_TRIM_THRESHOLD_"),
)


def keep_little_free(environment: Mapping[str, str] = os.environ) -> int:
    """Has freed memory given back to the system: two arenas for all threads, and large blocks that end with their use.

    Left to itself, glibc gives each of some twenty threads an arena of its own, all of which keep what they once
    needed, and holds on to blocks of up to 32 MiB once one was freed: a fifth of a busy server's memory. What the
    environment sets stays. Call it before the first thread starts.

    Returns how many parameters were set; 0 where the C library has none of them (musl).

    Source: mallopt(3).
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return 0
    return sum(mallopt(number, value) for number, value, name in _SETTINGS if name not in environment)


def hold_circles() -> None:
    """Until `let_circles_go` nothing looks for objects that hold only each other.

    What a start makes stays for good, nearly all of it: to look through it again and again, as there is more and more,
    is a seventh of the start. Memory that this leaves unfound: 1 MiB.
    """
    gc.disable()


def let_circles_go() -> None:
    """The start has ended: such objects are looked for again, among those made from now on."""
    gc.freeze()
    gc.enable()
