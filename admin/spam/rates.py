"""How often something happened lately: sliding windows in bounded memory, and texts that are close to each other. Pure.

Each count is that of the running part of the window, and of the one before as far as it still reaches in.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable

from admin.spam.text import FINGERPRINT_BITS

KEYS_MAX = 50_000
PLACES_MAX = 64
RECENT_MAX = 2_000
_BANDS, _NEAR = 4, 3
_BAND_BITS = FINGERPRINT_BITS // _BANDS


class Windows:
    """Counts of one kind over one length of time. The keys that were quiet longest are forgotten first."""

    def __init__(self, length_s: float, keys_max: int = KEYS_MAX) -> None:
        self._length_s = length_s
        self._keys_max = keys_max
        self._counts: OrderedDict[Hashable, tuple[int, int, int]] = OrderedDict()

    def add(self, key: Hashable, now_s: float) -> int:
        """Counts one more; how many that makes within the window."""
        window = int(now_s / self._length_s)
        before, was, count = self._counts.pop(key, (window, 0, 0))
        if before != window:
            was, count = (count if before == window - 1 else 0), 0
        count += 1
        self._counts[key] = (window, was, count)
        if len(self._counts) > self._keys_max:
            self._counts.popitem(last=False)
        gone = now_s / self._length_s - window
        return count + int(was * (1 - gone))


class Places:
    """In how many different places the same was seen within a time, PLACES_MAX at most."""

    def __init__(self, length_s: float, keys_max: int = KEYS_MAX // 5) -> None:
        self._length_s = length_s
        self._keys_max = keys_max
        self._seen: OrderedDict[Hashable, OrderedDict[Hashable, float]] = OrderedDict()

    def add(self, key: Hashable, place: Hashable, now_s: float) -> int:
        """Notes a place; how many that makes."""
        seen = self._seen.pop(key, None)
        if seen is None:
            seen = OrderedDict()
        self._seen[key] = seen
        seen.pop(place, None)
        seen[place] = now_s
        while seen and next(iter(seen.values())) < now_s - self._length_s:
            seen.popitem(last=False)
        if len(seen) > PLACES_MAX:
            seen.popitem(last=False)
        if len(self._seen) > self._keys_max:
            self._seen.popitem(last=False)
        return len(seen)


class Recent:
    """Fingerprints of the latest RECENT_MAX texts, and how many of them are near a new one."""

    def __init__(self, length_s: float) -> None:
        self._length_s = length_s
        self._order: deque[tuple[float, int]] = deque()
        self._bands: list[dict[int, list[int]]] = [{} for _ in range(_BANDS)]

    def add(self, fingerprint: int, now_s: float) -> int:
        """How many earlier ones differ in at most three bits. The new one is kept."""
        if not fingerprint:
            return 0
        self._forget(now_s)
        near: dict[int, int] = {}
        for band, part in enumerate(_parts(fingerprint)):
            for other in self._bands[band].get(part, ()):
                if (fingerprint ^ other).bit_count() <= _NEAR:
                    near[other] = max(near.get(other, 0), self._bands[band][part].count(other))
        for band, part in enumerate(_parts(fingerprint)):
            self._bands[band].setdefault(part, []).append(fingerprint)
        self._order.append((now_s, fingerprint))
        return sum(near.values())

    def _forget(self, now_s: float) -> None:
        while self._order and (len(self._order) >= RECENT_MAX or self._order[0][0] < now_s - self._length_s):
            _, old = self._order.popleft()
            for band, part in enumerate(_parts(old)):
                held = self._bands[band][part]
                held.remove(old)
                if not held:
                    del self._bands[band][part]


def _parts(fingerprint: int) -> list[int]:
    return [fingerprint >> (_BAND_BITS * band) & ((1 << _BAND_BITS) - 1) for band in range(_BANDS)]
