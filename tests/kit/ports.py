"""Ports for servers that are told where to listen."""

from __future__ import annotations

import random
import socket

# Below those that Linux gives to outgoing connections: one of them could take a port between its choice and its use.
FIRST, END = 10_000, 32_768
_chance = random.SystemRandom()  # other runs on this machine choose as well
_given: set[int] = set()


def free_port() -> int:
    """A port that nobody listens on, given once in a run."""
    for _ in range(1_000):
        port = _chance.randrange(FIRST, END)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise RuntimeError(f"no port from {FIRST} to {END} is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("", port))
        except OSError:
            return False
        return True
