"""What rules get to see of something that happens, gathered into the values that conditions name. Pure but for memory.

Live and replayed events go through the same code, so that a trial on the past says what would have been.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Self, TypeVar, overload

import msgspec

from admin.spam.conditions import is_counted
from admin.spam.rates import Places, Recent, Windows
from admin.spam.rules import Lists
from admin.spam.text import domain_of_link, fingerprint, folded, language_guess, links_in, mentions_in
from homeserver.core.identifiers import domain_of, localpart_of

Made = TypeVar("Made")
LONG_AGO_S = 86_400 * 365 * 10
FRESH_S = 3_600
_TEXT_KEYS = ("body", "formatted_body", "name", "topic", "reason", "displayname")
_MEDIA_KEYS = ("url", "avatar_url")
_MEDIA_MAX = 20
_JOINS = ("join", "remote_join")


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Something that rules look at, before anything is made of it. Times in seconds."""

    hook: str
    sender: str
    at_s: float
    type: str = ""
    state_key: str | None = None
    content: Mapping[str, Any] | None = None
    room_id: str = ""
    event_id: str = ""
    address: str = ""
    size: int = 0
    hash: str = ""


class Sender(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of who did it. `age_s` of the account, for others since they were first seen."""

    local: bool
    age_s: int = LONG_AGO_S
    power: int = 0
    admin: bool = False
    guest: bool = False
    past_actions: int = 0
    joined_s: int = LONG_AGO_S
    shared_rooms: int = 0  # with whom an invite is for, where a rule asks


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is known of the room. `created_s` as its create event says, None where that isn't known."""

    members: int = 0
    encrypted: bool = False
    public: bool = False
    version: str = ""
    created_s: int | None = None

    def age_s(self, at_s: float) -> int:
        """How old it was then; what isn't known counts as old."""
        return max(0, int(at_s) - self.created_s) if self.created_s is not None else LONG_AGO_S


NOWHERE = Place()
SHARED = ("sender", "shared_rooms")
Values = dict[str, dict[str, Any]]


class Rates:
    """All sliding windows together. Memory is bounded by the windows themselves, some tens of MB at most."""

    def __init__(self) -> None:
        self._sender_10s, self._sender_1m, self._sender_1h = Windows(10), Windows(60), Windows(3_600)
        self._server_1m, self._room_1m, self._address_1m = Windows(60), Windows(60), Windows(60)
        self._joins_1m, self._text_10m, self._link_10m = Windows(60), Windows(600), Windows(600)
        self._sender_rooms, self._text_rooms, self._link_rooms = Places(60), Places(600), Places(600)
        self._recent = Recent(600)
        self._fresh_1m = Windows(60, 1_000)

        # By name once: a trial over a long history counts ten million times.
        self._by_name: Mapping[str, Callable[[Reading, float], int]] = {
            "sender_10s": partial(_of_sender, self._sender_10s),
            "sender_1m": partial(_of_sender, self._sender_1m),
            "sender_1h": partial(_of_sender, self._sender_1h),
            "sender_rooms_1m": lambda one, now: self._sender_rooms.add(
                (one.what.hook, one.what.sender), one.what.room_id, now
            ),
            "server_1m": lambda one, now: self._server_1m.add((one.what.hook, domain_of(one.what.sender)), now),
            "room_1m": lambda one, now: _unless_empty(self._room_1m, one.what.hook, one.what.room_id, now),
            "address_1m": lambda one, now: _unless_empty(self._address_1m, one.what.hook, one.what.address, now),
            "text_10m": lambda one, now: self._text_10m.add(one.code, now) if one.code else 0,
            "text_rooms_10m": lambda one, now: self._text_rooms.add(one.code, one.what.room_id, now) if one.code else 0,
            "link_10m": lambda one, now: max((self._link_10m.add(domain, now) for domain in one.domains), default=0),
            "link_rooms_10m": lambda one, now: max(
                (self._link_rooms.add(domain, one.what.room_id, now) for domain in one.domains), default=0
            ),
            "fresh_1m": lambda one, now: self._fresh_1m.add(one.what.hook, now) if one.sender.age_s < FRESH_S else 0,
            "joins_1m": lambda one, now: self._joins_1m.add(one.what.room_id, now) if one.what.hook in _JOINS else 0,
            "similar": lambda one, now: self._recent.add(fingerprint(one.text), now),
        }

    def count(self, name: str, reading: Reading) -> int:
        """Counts this one under one name, and says how many that makes. Once for each thing that happens."""
        return self._by_name[name](reading, reading.what.at_s)


def _of_sender(windows: Windows, reading: Reading, now_s: float) -> int:
    return windows.add((reading.what.hook, reading.what.sender), now_s)


def _unless_empty(windows: Windows, kind: str, key: str, now_s: float) -> int:
    return windows.add((kind, key), now_s) if key else 0


def invited_by(type: str, sender: str, state_key: str | None) -> str | None:
    """Whom a membership is about, where that is somebody else than its sender."""
    return state_key if type == "m.room.member" and state_key and state_key != sender else None


class made_once(Generic[Made]):
    """A property that is made when it is first asked for, and kept. Without the lock that the library's has."""

    def __init__(self, make: Callable[[Any], Made]) -> None:
        self._make = make
        self._name = make.__name__

    @overload
    def __get__(self, one: None, owner: type) -> Self: ...

    @overload
    def __get__(self, one: object, owner: type) -> Made: ...

    def __get__(self, one: object | None, owner: type) -> Self | Made:
        if one is None:
            return self
        made = one.__dict__[self._name] = self._make(one)
        return made


class Reading:
    """What happened, as conditions ask for it: each value is made when it is first asked for, and once.

    What nobody asks for costs nothing, and isn't counted.
    """

    def __init__(self, what: Happening, sender: Sender, place: Place, lists: Lists, rates: Rates) -> None:
        self.what = what
        self.sender = sender
        self.place = place
        self._lists = lists
        self._rates = rates
        self._counts: dict[str, int] = {}
        self.content: Mapping[str, Any] = what.content or {}

    def values(self, wanted: Iterable[tuple[str, str]]) -> Values:
        """The values of these fields, as groups."""
        made: Values = {"event": {}, "sender": {}, "room": {}, "rates": {}}
        for group, name in wanted:
            made[group][name] = self.value(group, name)
        return made

    def value(self, group: str, name: str) -> Any:
        """The value of one field."""
        if is_counted(group, name):
            return self.count(name)
        if group == "event":
            return _EVENT[name](self)
        if group == "room":
            return self._of_room(name)
        made = _SENDER.get(name)
        return made(self) if made is not None else getattr(self.sender, name)

    def _of_room(self, name: str) -> Any:
        if name == "id":
            return self.what.room_id
        return self.place.age_s(self.what.at_s) if name == "age_s" else getattr(self.place, name)

    def count(self, name: str) -> int:
        """How many with this one, within the time that the name ends with."""
        if name not in self._counts:
            self._counts[name] = self._rates.count(name, self)
        return self._counts[name]

    def string(self, key: str) -> str:
        """A string of the content; empty where there is none."""
        return _string(self.content, key)

    @made_once
    def raw(self) -> str:
        return _text(self.content)

    @made_once
    def text(self) -> str:
        return folded(self.raw)

    @made_once
    def code(self) -> int:
        """Stands for the text in counts; 0 for one too short to compare."""
        return zlib.crc32(self.text.encode()) if len(self.text) >= 8 else 0

    @made_once
    def links(self) -> list[str]:
        return links_in(self.raw) + _formatted_links(self.content)

    @made_once
    def domains(self) -> list[str]:
        return list(dict.fromkeys(name for link in self.links if (name := domain_of_link(link))))

    @made_once
    def media(self) -> list[str]:
        return _media(self.content)

    @made_once
    def info(self) -> Mapping[str, Any]:
        return _object(self.content, "info")

    @made_once
    def relates(self) -> Mapping[str, Any]:
        return _object(self.content, "m.relates_to")

    @made_once
    def lists(self) -> list[str]:
        known, what = self._lists, self.what
        found = known.of_text(self.text) | known.of("domains", self.domains)
        found |= known.of("media", [*self.media, what.hash]) | known.of_look(self.string("look"))
        return sorted(found | known.of("users", [what.sender]) | known.of("servers", [domain_of(what.sender)]))

    @property
    def is_target_local(self) -> bool:
        target = self.what.state_key or ""
        is_member = bool(target) and self.what.type == "m.room.member"
        return is_member and domain_of(target) == domain_of(self.what.sender)


_EVENT: Mapping[str, Callable[[Reading], Any]] = {
    "type": lambda one: one.what.type,
    "state_key": lambda one: one.what.state_key or "",
    "is_state": lambda one: one.what.state_key is not None,
    "text": lambda one: one.text,
    "raw": lambda one: one.raw,
    "msgtype": lambda one: one.string("msgtype"),
    "length": lambda one: len(one.raw),
    "lines": lambda one: one.raw.count("\n") + 1,
    "language": lambda one: language_guess(one.raw),
    "links": lambda one: one.links,
    "domains": lambda one: one.domains,
    "mentions": lambda one: max(_mentions(one.content), mentions_in(one.raw)),
    "membership": lambda one: one.string("membership"),
    "target": lambda one: one.what.state_key or "",
    "target_local": lambda one: one.is_target_local,
    "media": lambda one: one.media,
    "hash": lambda one: one.what.hash,
    "mimetype": lambda one: _string(one.info, "mimetype") or one.string("mimetype"),
    "file_name": lambda one: folded(one.string("filename") or one.string("body"))[:255],
    "size": lambda one: one.what.size or _number(one.info, "size"),
    "lists": lambda one: one.lists,
    "is_edit": lambda one: one.relates.get("rel_type") == "m.replace",
    "is_reply": lambda one: isinstance(one.relates.get("m.in_reply_to"), dict),
}
# The others are fields of Sender.
_SENDER: Mapping[str, Callable[[Reading], Any]] = {
    "id": lambda one: one.what.sender,
    "localpart": lambda one: localpart_of(one.what.sender),
    "server": lambda one: domain_of(one.what.sender),
    "name": lambda one: folded(one.string("displayname") or localpart_of(one.what.sender)),
    "address": lambda one: one.what.address,
}


def _object(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, dict) else {}


def _text(content: Mapping[str, Any]) -> str:
    found = _texts_of(content)
    replaced = content.get("m.new_content")
    if isinstance(replaced, dict):
        found += _texts_of(replaced)
    if len(found) == 1:
        return _clean(found[0][:8_192])
    return _clean("\n".join(dict.fromkeys(found))[:8_192])


def _texts_of(part: Mapping[str, Any]) -> list[str]:
    return [value for key in _TEXT_KEYS if isinstance(value := part.get(key), str)]


def _formatted_links(content: Mapping[str, Any]) -> list[str]:
    caption = content.get("external_url")
    return [_clean(caption[:2_000])] if isinstance(caption, str) and caption.startswith("http") else []


def _media(content: Mapping[str, Any]) -> list[str]:
    found = [content[key] for key in _MEDIA_KEYS if isinstance(content.get(key), str)]
    for key in ("file", "info"):
        inner = content.get(key)
        if isinstance(inner, dict):
            found += [inner[name] for name in ("url", "thumbnail_url") if isinstance(inner.get(name), str)]
    return [_clean(uri[:512]) for uri in found if uri.startswith("mxc://")][:_MEDIA_MAX]


def _mentions(content: Mapping[str, Any]) -> int:
    mentions = content.get("m.mentions")
    users = mentions.get("user_ids") if isinstance(mentions, dict) else None
    named = len(users) if isinstance(users, list) else 0
    room = isinstance(mentions, dict) and mentions.get("room") is True
    return named + (1 if room else 0)


def _string(content: Mapping[str, Any], key: str) -> str:
    value = content.get(key)
    return _clean(value[:8_192]) if isinstance(value, str) else ""


def _clean(text: str) -> str:
    """Without halves of surrogate pairs, which no condition can be asked about."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _number(content: Mapping[str, Any], key: str) -> int:
    value = content.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53 else 0
