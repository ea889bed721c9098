"""Checks of this machine: folders, keys, certificates, disk, open files."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from homeserver.config import Config
from homeserver.runtime.findings import Finding, failed, skipped, warning, well
from homeserver.runtime.probes import Probes

_MIB = 1024 * 1024
_OPEN_FILES_MIN = 4096


def machine_findings(config: Config, probes: Probes) -> Iterator[Finding]:
    """All that can be seen without a network or a database."""
    yield _data_dir(config.data_dir)
    yield _signing_key(config.signing_key_path)
    yield from _certificates(config)
    yield from _disk(config, probes)
    yield _open_files(probes)


def _data_dir(path: Path) -> Finding:
    if not path.exists():
        parent = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
        if os.access(parent, os.W_OK):
            return well("data folder", f"{path} will be made at the first start")
        return failed(
            "data folder", f"{path} can't be made in {parent}", "set `data_dir` to a folder that can be written"
        )
    if not path.is_dir() or not os.access(path, os.W_OK | os.X_OK):
        return failed("data folder", f"{path} can't be written", f"give it to this user: chown $(id -u) {path}")
    if stat.S_IMODE(path.stat().st_mode) & 0o006:
        return warning("data folder", f"every user of this machine can look into {path}", f"type `chmod o-rw {path}`")
    return well("data folder", f"{path} can be written")


def _signing_key(path: Path) -> Finding:
    name = "signing key"
    if not path.exists():
        return well(name, f"{path} will be made at the first start")
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return failed(name, f"others can open {path} (mode {mode:04o})", f"type `chmod 600 {path}`")
    try:
        words = path.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        return failed(name, f"{path} can't be read: {error}", "run this as the user that runs the server")
    if len(words) < 3 or words[0] != "ed25519":
        return failed(name, f"{path} holds no ed25519 key", "restore it from a backup, or remove it to get a new one")
    return well(name, f"{path} holds the key {words[0]}:{words[1]}")


def _certificates(config: Config) -> Iterator[Finding]:
    for listener in config.listeners:
        for path in (listener.tls_certificate_path, listener.tls_private_key_path):
            if path is not None and not os.access(path, os.R_OK):
                hint = "correct the path, or let this user read the file"
                yield failed("certificate", f"{path} can't be read", hint)
        key = listener.tls_private_key_path
        if key is not None and os.access(key, os.R_OK) and stat.S_IMODE(key.stat().st_mode) & 0o007:
            yield failed("certificate", f"every user can read the private key {key}", f"type `chmod 600 {key}`")


def _disk(config: Config, probes: Probes) -> Iterator[Finding]:
    places = {"data": config.data_dir, "media": config.media.store_path}
    for name, path in places.items():
        free = probes.free_disk_bytes(path.absolute())
        least = config.limits.free_disk_bytes_min
        text = f"{free // _MIB} MiB free for {name} at {path}"
        if free < least:
            hint = f"free some: below {least // _MIB} MiB (`limits.free_disk_bytes_min`) writes are refused"
            yield failed("disk", text, hint)
        elif free < 4 * least:
            yield warning("disk", text, f"writes are refused below {least // _MIB} MiB: free some soon")
        else:
            yield well("disk", text)


def _open_files(probes: Probes) -> Finding:
    limit = probes.open_files_max()
    if limit < _OPEN_FILES_MIN:
        hint = f"raise it: `ulimit -n {_OPEN_FILES_MIN}`, or `LimitNOFILE=` in the systemd unit"
        return warning("open files", f"this process may open {limit} files, one for each connection", hint)
    return well("open files", f"this process may open {limit} files")


def local_only(config: Config, check: str) -> Finding | None:
    """Why a check of the network makes no sense here, if so."""
    if config.is_local:
        return skipped(check, f"the server is for this machine only (server_name is {config.server_name})")
    return None
