"""Mails that tell what is unread: for users who asked for them, and look at nothing else for a while.

No word of a message is in them: mail is not private.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from homeserver.core.identifiers import RoomId
from homeserver.web.smtp import Mail

APP_ID = "m.email"
# How long something has to stay unread, and how far mails to one user are apart.
UNREAD_FOR_MS = 10 * 60_000
APART_MS = 3_600_000
ROOMS_MAX = 20
NAME_CHARS_MAX = 80


class Mails(Protocol):
    """Implemented by web.smtp."""

    def put(self, mail: Mail) -> bool: ...


@dataclass(frozen=True, slots=True)
class MailSettings:
    """Where mails go out, and what they call this server."""

    mails: Mails
    server_name: str
    base_url: str


@dataclass(frozen=True, slots=True)
class Unread:
    """A notification that nobody has looked at, by the names of its room and sender."""

    room_id: RoomId
    room: str
    sender: str
    is_highlight: bool


def digest(found: Sequence[Unread], to: str, settings: MailSettings) -> Mail:
    """One mail about all of it, by room, the busiest first."""
    rooms: dict[RoomId, list[Unread]] = {}
    for one in found:
        rooms.setdefault(one.room_id, []).append(one)
    busiest = sorted(rooms.values(), key=len, reverse=True)
    lines = [_line(of_room) for of_room in busiest[:ROOMS_MAX]]
    if len(busiest) > ROOMS_MAX:
        lines.append(f"- and {len(busiest) - ROOMS_MAX} more rooms")
    count = f"{len(found)} unread message" + ("s" if len(found) > 1 else "")
    text = "\n".join([f"You have {count} on {settings.server_name}:", "", *lines, "", settings.base_url, ""])
    return Mail(to=to, subject=f"{count} on {settings.server_name}", text=text)


def _line(of_room: Sequence[Unread]) -> str:
    senders = list(dict.fromkeys(_plain(one.sender) for one in of_room))
    who = ", ".join(senders[:3]) + (" and others" if len(senders) > 3 else "")
    mentioned = ", and you are mentioned" if any(one.is_highlight for one in of_room) else ""
    return f"- {_plain(of_room[-1].room)}: {len(of_room)} from {who}{mentioned}"


def _plain(name: str) -> str:
    """One line of bounded length, whatever people call themselves."""
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())[:NAME_CHARS_MAX]
