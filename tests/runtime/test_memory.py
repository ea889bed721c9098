"""Memory that was needed once goes back to the system."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# Sixteen threads that each need 16 MiB for a while, one after the other, and keep a little of it.
_MUCH_ONCE = """
import ctypes, resource, sys, threading
from homeserver.runtime.memory import keep_little_free
if sys.argv[1] == "little":
    assert keep_little_free({}) == 3
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
one, all_had = threading.Lock(), threading.Barrier(17)
def work():
    with one:
        had = [libc.malloc(32_000) for _ in range(500)]
        for place in had:
            ctypes.memset(ctypes.c_void_p(place), 1, 32_000)
        for place in had[:-1]:
            libc.free(place)
    all_had.wait()
    all_had.wait()
threads = [threading.Thread(target=work, daemon=True) for _ in range(16)]
for thread in threads:
    thread.start()
all_had.wait()
print(int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize())
all_had.wait()
"""


def resident_bytes(how: str) -> int:
    ran = subprocess.run([sys.executable, "-c", _MUCH_ONCE, how], capture_output=True, text=True, check=True)
    return int(ran.stdout)


def test_what_threads_needed_once_is_given_back() -> None:
    assert resident_bytes("little") < resident_bytes("much") / 2


# A server whose start is no more than a look at the collector: before it answers, and from then on.
_START = """
import gc, sys
from homeserver import app
from homeserver.cli import main
async def run(config, ready, progress):
    before = gc.isenabled()
    ready(False)
    print(before, gc.isenabled(), gc.get_freeze_count() > 100_000)
app.run = run
sys.argv = ["hansa", "run"]
main()
"""


def test_objects_are_looked_through_again_once_the_server_answers(tmp_path: Path) -> None:
    ran = subprocess.run([sys.executable, "-c", _START], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert ran.stdout.split() == ["False", "True", "True"]
