"""What a search found, as people read it on a page: who said it where and when, what stands around it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from homeserver.core.errors import MatrixError
from homeserver.core.highlighting import Parts, marked
from homeserver.core.identifiers import RoomId, UserId
from homeserver.core.said import said
from homeserver.rooms.history import History
from homeserver.rooms.residents import Room, Rooms
from homeserver.rooms.searching import FoundEvent, Prepared, Searching, SearchPage, SearchRequest
from homeserver.storage.events import StoredEvent

CONTEXT = 2
TEXT_CHARS_MAX = 600
LINE_CHARS_MAX = 160
NAMED_MAX = 3


@dataclass(frozen=True, slots=True)
class Line:
    """One message; `parts` are its text in pieces, and whether each is a word that was looked for."""

    sender: UserId
    name: str
    time_ms: int
    kind: str  # text, image, file, audio, video, poll, name, topic or emote
    parts: Parts


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMessage:
    room_id: RoomId
    room_name: str
    event_id: str
    line: Line
    before: Sequence[Line]
    after: Sequence[Line]


class FoundMessages:
    """Searches, and makes what was found readable."""

    def __init__(self, searching: Searching, rooms: Rooms, history: History) -> None:
        self.searching = searching
        self._rooms = rooms
        self._history = history

    async def page(
        self, viewer: UserId, request: SearchRequest, prepared: Prepared | None = None
    ) -> tuple[SearchPage, list[FoundMessage]]:
        """Raises InvalidParam."""
        page = await self.searching.search(viewer, request, prepared)
        around = await self.searching.surroundings(viewer, page.found, CONTEXT, CONTEXT)
        profiles = await self.searching.profiles(page.found, around)
        names = await self.names(viewer, {one.stored.event.room_id for one in page.found})
        shown = []
        for one in page.found:
            event, near, known = one.stored.event, around[one.stored.nid], profiles.get(one.stored.nid, {})
            shown.append(
                FoundMessage(
                    room_id=event.room_id,
                    room_name=names.get(event.room_id, event.room_id),
                    event_id=event.event_id,
                    line=_line(one.stored, _content(one), page.words, TEXT_CHARS_MAX, known),
                    before=_lines(near.before[::-1], known),
                    after=_lines(near.after, known),
                )
            )
        return page, shown

    async def names(self, viewer: UserId, room_ids: Collection[RoomId]) -> Mapping[RoomId, str]:
        """What to call these rooms: of one that was left, by what it was called then."""
        rooms = await self._rooms.get_many(room_ids)
        return {room_id: await self._name(viewer, room) for room_id, room in rooms.items()}

    async def _name(self, viewer: UserId, room: Room) -> str:
        if room.membership(viewer) == "join":
            named = room.known_text("m.room.name", "name") or room.known_text("m.room.canonical_alias", "alias")
            others = [user_id for user_id in room.joined_members()[: NAMED_MAX + 1] if user_id != viewer]
            return named or ", ".join(others[:NAMED_MAX]) or room.room_id
        try:
            stored = await self._history.state_event_for(viewer, room, ("m.room.name", ""))
        except MatrixError:
            return room.room_id
        name = stored.event.content.get("name") if stored is not None else None
        return name if isinstance(name, str) and name else room.room_id


def _content(one: FoundEvent) -> Mapping[str, Any]:
    """What it says now."""
    if one.source.nid == one.stored.nid:
        return one.stored.event.content
    new = one.source.event.content.get("m.new_content")
    return new if isinstance(new, dict) else one.stored.event.content


def _lines(stored: Sequence[StoredEvent], profiles: Mapping[str, Mapping[str, Any]]) -> list[Line]:
    lines = [_line(one, one.event.content, (), LINE_CHARS_MAX, profiles) for one in stored]
    return [line for line in lines if line.parts]


def _line(
    stored: StoredEvent,
    content: Mapping[str, Any],
    words: Sequence[str],
    chars_max: int,
    profiles: Mapping[str, Mapping[str, Any]],
) -> Line:
    event = stored.event
    name = profiles.get(event.sender, {}).get("displayname")
    return Line(
        sender=event.sender,
        name=name if isinstance(name, str) and name.strip() else event.sender,
        time_ms=event.origin_server_ts,
        kind=_kind(event.type, content),
        parts=marked(said(event.type, content), words, chars_max),
    )


def _kind(event_type: str, content: Mapping[str, Any]) -> str:
    if event_type in ("m.room.name", "m.room.topic"):
        return event_type.removeprefix("m.room.")
    if "poll" in event_type:
        return "poll"
    kind = str(content.get("msgtype", "")).removeprefix("m.")
    return kind if kind in ("image", "file", "audio", "video", "emote") else "text"
