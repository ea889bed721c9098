"""Makes the guides' pictures anew (docs/operating/images): tests in a browser keep what pages look like, in small.

`python -m scripts.guide_pictures`. Needs Chromium, as those tests do, and a Chinese font, or the button for Chinese is
empty.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs" / "operating" / "images"
TESTS = (
    "tests/browser/test_console.py::test_a_wave_is_found_explained_and_cleaned_up",
    "tests/browser/test_console.py::test_a_role_is_bound_to_a_room",
    "tests/browser/test_evidence_pages.py",
)
# The picture → the name by which a test keeps the page.
PICTURES: Mapping[str, str] = {
    "overview": "wave-0-overview",
    "rule": "wave-1-rule",
    "trial": "wave-2-trial",
    "decision": "wave-3-decision",
    "case": "wave-4-case",
    "preview": "wave-5-preview",
    "trace": "wave-6-trace",
    "user": "wave-7-user",
    "operators": "operators-2",
    "export": "export",
    "retention": "retention",
}
_SHOT_WIDTH, _SHOT_HEIGHT_MAX = 1280, 1150
_WIDTH = 960
_COLOURS = 128


def small(shot: Path, picture: Path) -> None:
    """The page's upper part, in few colours."""
    with Image.open(shot) as page:
        upper = page.convert("RGB").crop((0, 0, page.width, min(page.height, _SHOT_HEIGHT_MAX)))
        size = _WIDTH, round(upper.height * _WIDTH / upper.width)
        upper.resize(size, Image.Resampling.LANCZOS).quantize(_COLOURS).save(picture, optimize=True)


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="hansa-pictures-") as folder:
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", *TESTS]
        made = subprocess.run(command, cwd=ROOT, env={**os.environ, "HANSA_SHOTS": folder}, check=False)
        if made.returncode:
            return made.returncode
        for name, kept in PICTURES.items():
            small(Path(folder) / f"{kept}-{_SHOT_WIDTH}.png", IMAGES / f"{name}.png")
            print(IMAGES / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
