"""A Merkle tree over the lines of an export, as RFC 6962 has it, built as the lines come."""

from __future__ import annotations

import hashlib


class MerkleTree:
    """The root over all leaves so far. Leaves are bytes."""

    def __init__(self) -> None:
        # Roots of full subtrees, the largest first, with their sizes.
        self._full: list[tuple[int, bytes]] = []
        self.size = 0

    def add(self, leaf: bytes) -> None:
        """Adds a leaf at the end. One or two hashes."""
        node, size = hashlib.sha256(b"\x00" + leaf).digest(), 1
        while self._full and self._full[-1][0] == size:
            node, size = _parent(self._full.pop()[1], node), size * 2
        self._full.append((size, node))
        self.size += 1

    def root(self) -> bytes:
        """32 bytes; over no leaves the hash of nothing."""
        if not self._full:
            return hashlib.sha256(b"").digest()
        node = self._full[-1][1]
        for _, left in reversed(self._full[:-1]):
            node = _parent(left, node)
        return node


def _parent(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()
