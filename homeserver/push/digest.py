"""Mails that tell what is unread: for users who asked for them, and look at nothing else for a while.

No word of a message is in them: mail is not private.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from homeserver.core.identifiers import RoomId
from homeserver.web.smtp import Mail
from homeserver.web.translations import LANGUAGES, translate

APP_ID = "m.email"
UNSUBSCRIBE_PATH = "/_hansa/unsubscribe"
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


def digest(
    found: Sequence[Unread], to: str, settings: MailSettings, language: str = "en", unsubscribe: str | None = None
) -> Mail:
    """One mail about all of it, by room, the busiest first. `unsubscribe` is the URL that ends such mails."""
    rooms: dict[RoomId, list[Unread]] = {}
    for one in found:
        rooms.setdefault(one.room_id, []).append(one)
    busiest = sorted(rooms.values(), key=len, reverse=True)
    chosen = language if language in LANGUAGES else LANGUAGES[0]

    def t(key: str, **values: object) -> str:
        return translate(key, chosen, values)

    lines = [_line(of_room, t) for of_room in busiest[:ROOMS_MAX]]
    if len(busiest) > ROOMS_MAX:
        lines.append("- " + t("mail_unread_more", count=len(busiest) - ROOMS_MAX))
    several = "" if len(found) == 1 else "_several"
    told = {"count": len(found), "server": settings.server_name}
    text = [t("mail_unread_text" + several, **told), "", *lines, "", settings.base_url, ""]
    if unsubscribe is not None:
        text += [t("mail_unsubscribe"), unsubscribe, ""]
    subject = t("mail_unread_subject" + several, **told)
    return Mail(to=to, subject=subject, text="\n".join(text), unsubscribe=unsubscribe)


def _line(of_room: Sequence[Unread], t: Callable[..., str]) -> str:
    senders = list(dict.fromkeys(_plain(one.sender) for one in of_room))
    who = ", ".join(senders[:3]) + (t("mail_unread_others") if len(senders) > 3 else "")
    mentioned = t("mail_unread_mentioned") if any(one.is_highlight for one in of_room) else ""
    room = _plain(of_room[-1].room) or t("mail_unread_a_room")
    return "- " + t("mail_unread_line", room=room, count=len(of_room), who=who) + mentioned


def _plain(name: str) -> str:
    """One line of bounded length, whatever people call themselves."""
    return " ".join("".join(char if char.isprintable() else " " for char in name).split())[:NAME_CHARS_MAX]
