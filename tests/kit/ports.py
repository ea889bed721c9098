"""Ports for servers that are told where to listen."""

from __future__ import annotations

import random
import socket
from collections import deque

# Below those that Linux gives to outgoing connections: one of them could take a port between its choice and its use.
FIRST, END = 10_000, 32_768
_chance = random.SystemRandom()
_given: set[int] = set()
# Other runs on this machine choose as well: names of the latest ports, which no other process can bind meanwhile.
_held: deque[socket.socket] = deque()
HELD_MAX = 200


def free_port() -> int:
    """A port that nobody listens on, given once in a run, and to no other: also not between a server's lives."""
    for _ in range(1_000):
        port = _chance.randrange(FIRST, END)
        if port not in _given and _hold(port) and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no port from {FIRST} to {END} is free")


def _hold(port: int) -> bool:
    held = socket.socket(socket.AF_UNIX)
    try:
        held.bind(f"\0hansa-tests-port-{port}")
    except OSError:
        held.close()
        return False
    _held.append(held)
    if len(_held) > HELD_MAX:
        _held.popleft().close()
    return True


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
