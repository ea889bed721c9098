"""What `hansa doctor` says: one finding a check, with what to do when it isn't well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`hint` says what to type or change; it is empty when all is well."""

    check: str
    verdict: Verdict
    message: str
    hint: str = ""


def well(check: str, message: str) -> Finding:
    return Finding(check, "ok", message)


def warning(check: str, message: str, hint: str) -> Finding:
    return Finding(check, "warning", message, hint)


def failed(check: str, message: str, hint: str) -> Finding:
    return Finding(check, "failed", message, hint)


def skipped(check: str, message: str) -> Finding:
    return Finding(check, "skipped", message)
