"""The forms of an export: JSON lines for proof, HTML and plain text to read.

Invariant: whatever people wrote is text in each of them, and does nothing.
"""

from __future__ import annotations

import base64
import hashlib
import html
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from homeserver.core import canonical_json

# What a line of a person's may have in plain text or on a page: the rest is in the JSON lines.
TEXT_CHARS_MAX = 20_000
_GAP = "\N{REPLACEMENT CHARACTER}"
_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "p{margin:.3rem 0;overflow-wrap:anywhere;white-space:pre-wrap}time,.id,.note{color:#666;font-size:.8rem}"
    "b{margin:0 .4rem}.note{font-style:italic}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; form-action 'none'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """An event on its way into files: `record` is what the JSON lines have, `pdu` what of it is shown."""

    record: Mapping[str, Any]
    pdu: Mapping[str, Any]
    encoded: bytes


class Form(Protocol):
    """Writes one file. Called in a thread, by one at a time."""

    name: str

    def open(self, folder: Path, title: str) -> None: ...

    def write(self, lines: Iterable[Line]) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One event a line, canonical JSON: the lines that the Merkle root in the manifest is over."""

    name = "events.jsonl"

    def open(self, folder: Path, title: str) -> None:
        self._file: BinaryIO = (folder / self.name).open("xb")

    def write(self, lines: Iterable[Line]) -> None:
        self._file.writelines(line.encoded + b"\n" for line in lines)

    def close(self) -> None:
        self._file.close()


class PlainText:
    """One event a line: time, room, who, what. No control character of a message gets to the terminal."""

    name = "events.txt"

    def open(self, folder: Path, title: str) -> None:
        self._file: BinaryIO = (folder / self.name).open("xb")
        self._file.write(f"{plain(title)}\n\n".encode())

    def write(self, lines: Iterable[Line]) -> None:
        for line in lines:
            room, sender = plain(line.record["room_id"]), plain(line.pdu["sender"])
            self._file.write(f"{_time(line)}  {room}  {sender}  {plain(said(line))}\n".encode())

    def close(self) -> None:
        self._file.close()


class Page:
    """A page that loads nothing and runs nothing: every character of a message is text on it."""

    name = "events.html"

    def __init__(self) -> None:
        self._names: dict[tuple[str, str], str] = {}

    def open(self, folder: Path, title: str) -> None:
        self._file: BinaryIO = (folder / self.name).open("xb")
        shown = html.escape(shown_text(title))
        self._write(
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
            '<meta name="referrer" content="no-referrer">'
            f'<meta name="viewport" content="width=device-width"><title>{shown}</title><style>{_STYLE}</style></head>'
            f"<body><h1><bdi>{shown}</bdi></h1>\n"
        )

    def write(self, lines: Iterable[Line]) -> None:
        for line in lines:
            pdu = line.pdu
            where = (line.record["room_id"], str(pdu.get("state_key")))
            if pdu["type"] == "m.room.member":
                self._names[where] = _text(pdu["content"].get("displayname"))
            sender = str(pdu["sender"])
            name = self._names.get((line.record["room_id"], sender)) or sender
            beside = f' <span class="id">{_escaped(sender)}</span>' if name != sender else ""
            kind = "" if pdu["type"] == "m.room.message" and pdu["content"] else ' class="note"'
            self._write(
                f'<p id="{_escaped(line.record["event_id"])}"><time>{_time(line)}</time>'
                f"<b><bdi>{_escaped(name)}</bdi></b>{beside} <bdi{kind}>{_escaped(said(line))}</bdi></p>\n"
            )

    def close(self) -> None:
        self._write("</body></html>\n")
        self._file.close()

    def _write(self, text: str) -> None:
        self._file.write(text.encode())


def said(line: Line) -> str:
    """What an event says, in a few words where it is no message."""
    pdu = line.pdu
    content: Mapping[str, Any] = pdu["content"]
    if line.record.get("redacted_by") and not content:
        return "[redacted]"
    kind = str(pdu["type"])
    if kind == "m.room.message":
        body = _text(content.get("body"))
        link = _text(content.get("url"))
        return f"{body} [{link}]" if link else body or "[nothing]"
    if kind == "m.room.encrypted":
        return "[encrypted]"
    if kind == "m.room.member":
        words = (f"[{_text(content.get('membership'))}]", _text(pdu.get("state_key")), _text(content.get("reason")))
        return " ".join(word for word in words if word)
    if kind == "m.reaction":
        relation = content.get("m.relates_to")
        return f"[reaction] {_text(relation.get('key')) if isinstance(relation, Mapping) else ''}"
    about = f" {_text(pdu.get('state_key'))}" if pdu.get("state_key") else ""
    return f"[{kind}{about}] {canonical_json.encode(dict(content)).decode()}"


def plain(text: str) -> str:
    """Text on one line that does nothing to a terminal, nor to the order of what stands beside it."""
    return "".join(_GAP if unicodedata.category(char).startswith("C") else char for char in _one(text))


def shown_text(text: str) -> str:
    """Text that HTML can hold."""
    return "".join(_GAP if char not in "\n\t" and unicodedata.category(char) in ("Cc", "Cs") else char for char in text)


def _one(text: str) -> str:
    return " ".join(text.splitlines())


def _escaped(text: str) -> str:
    return html.escape(shown_text(text))


def _text(value: object) -> str:
    return value[:TEXT_CHARS_MAX] if isinstance(value, str) else ""


def _time(line: Line) -> str:
    ts = line.pdu.get("origin_server_ts")
    try:
        return datetime.fromtimestamp(int(ts or 0) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError, OSError):
        return "?"
