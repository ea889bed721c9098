"""A file system of a few MiB, for tests that fill it up. Needs root."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

from homeserver.storage.embedded import SYSTEM_USER


@contextlib.contextmanager
def small_disk(folder: Path, size_kib: int) -> Iterator[Path]:
    """Mounts it at a new folder that belongs to PostgreSQL's user."""
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_kib}k", "tmpfs", str(folder)], check=True)
    try:
        owner = pwd.getpwnam(SYSTEM_USER)
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, leave_kib: int = 0) -> Path:
    """Takes all that is left but so much; deleting the file gives it back."""
    file = folder / "filler"
    left = os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize - leave_kib * 1024
    file.write_bytes(bytes(max(left, 0)))
    return file
