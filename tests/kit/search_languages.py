"""What people say in many scripts, and what must find it: every tier finds exactly this.

`search_languages.json` holds the texts, and each query with the numbers (from 0) of the texts that it finds.
"""

from __future__ import annotations

import json
from pathlib import Path

_SET = json.loads(Path(__file__).with_suffix(".json").read_text("utf-8"))
TEXTS: tuple[str, ...] = tuple(_SET["texts"])
QUERIES: tuple[tuple[str, frozenset[int]], ...] = tuple((query, frozenset(found)) for query, found in _SET["queries"])
