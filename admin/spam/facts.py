"""What rules get to see of something that happens, gathered into the values that conditions name. Pure but for memory.

Live and replayed events go through the same function, so that a trial on the past says what would have been.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from admin.spam.rates import Places, Recent, Windows
from admin.spam.rules import Lists
from admin.spam.text import domain_of_link, fingerprint, folded, language_guess, links_in, mentions_in
from homeserver.core.identifiers import domain_of, localpart_of

LONG_AGO_S = 86_400 * 365 * 10
FRESH_S = 3_600
_TEXT_KEYS = ("body", "formatted_body", "name", "topic", "reason", "displayname")
_MEDIA_KEYS = ("url", "avatar_url")
_MEDIA_MAX = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """What is known of who did it. `age_s` of the account, for others since they were first seen."""

    local: bool
    age_s: int = LONG_AGO_S
    power: int = 0
    admin: bool = False
    guest: bool = False
    past_actions: int = 0
    joined_s: int = LONG_AGO_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """What is known of the room."""

    members: int = 0
    encrypted: bool = False
    public: bool = False
    version: str = ""


NOWHERE = Place()
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

    def count(self, what: Happening, text: str, domains: list[str], *, fresh: bool, similar: bool) -> dict[str, int]:
        """Counts this one, and says how many that makes. `similar` looks for near texts too, which costs most."""
        now, kind = what.at_s, what.hook
        server = domain_of(what.sender)
        code = zlib.crc32(text.encode()) if len(text) >= 8 else 0
        found = {
            "sender_10s": self._sender_10s.add((kind, what.sender), now),
            "sender_1m": self._sender_1m.add((kind, what.sender), now),
            "sender_1h": self._sender_1h.add((kind, what.sender), now),
            "sender_rooms_1m": self._sender_rooms.add((kind, what.sender), what.room_id, now),
            "server_1m": self._server_1m.add((kind, server), now),
            "room_1m": self._room_1m.add((kind, what.room_id), now) if what.room_id else 0,
            "address_1m": self._address_1m.add((kind, what.address), now) if what.address else 0,
            "text_10m": self._text_10m.add(code, now) if code else 0,
            "text_rooms_10m": self._text_rooms.add(code, what.room_id, now) if code else 0,
            "link_10m": max((self._link_10m.add(domain, now) for domain in domains), default=0),
            "link_rooms_10m": max((self._link_rooms.add(name, what.room_id, now) for name in domains), default=0),
        }
        found["fresh_1m"] = self._fresh_1m.add(kind, now) if fresh else 0
        found["similar"] = self._recent.add(fingerprint(text), now) if similar else 0
        found["joins_1m"] = self._joins_1m.add(what.room_id, now) if kind in ("join", "remote_join") else 0
        return found


def values_of(
    what: Happening, sender: Sender, place: Place, lists: Lists, rates: Rates, *, similar: bool = False
) -> Values:
    """The values of a condition's context. About 60 µs for a short message."""
    content = what.content or {}
    raw = _text(content)
    text = folded(raw)
    links = links_in(raw) + _formatted_links(content)
    domains = list(dict.fromkeys(name for link in links if (name := domain_of_link(link))))
    media = _media(content)
    counted = rates.count(what, text, domains, fresh=sender.age_s < FRESH_S, similar=similar)
    info = content.get("info")
    info = info if isinstance(info, dict) else {}
    relates = content.get("m.relates_to")
    relates = relates if isinstance(relates, dict) else {}
    target = what.state_key or ""
    event = {
        "type": what.type,
        "state_key": target,
        "is_state": what.state_key is not None,
        "text": text,
        "raw": raw,
        "msgtype": _string(content, "msgtype"),
        "length": len(raw),
        "lines": raw.count("\n") + 1,
        "language": language_guess(raw),
        "links": links,
        "domains": domains,
        "mentions": max(_mentions(content), mentions_in(raw)),
        "membership": _string(content, "membership"),
        "target": target,
        "target_local": bool(target) and what.type == "m.room.member" and domain_of(target) == domain_of(what.sender),
        "media": media,
        "hash": what.hash,
        "mimetype": _string(info, "mimetype") or _string(content, "mimetype"),
        "file_name": folded(_string(content, "filename") or _string(content, "body"))[:255],
        "size": what.size or _number(info, "size"),
        "similar": counted.pop("similar"),
        "lists": sorted(
            lists.of_text(text)
            | lists.of("domains", domains)
            | lists.of("media", [*media, what.hash])
            | lists.of("users", [what.sender])
            | lists.of("servers", [domain_of(what.sender)])
        ),
        "is_edit": relates.get("rel_type") == "m.replace",
        "is_reply": isinstance(relates.get("m.in_reply_to"), dict),
    }
    who = _who(what, sender, content)
    room = {
        "id": what.room_id,
        "members": place.members,
        "encrypted": place.encrypted,
        "public": place.public,
        "version": place.version,
        "joins_1m": counted.pop("joins_1m"),
    }
    return {"event": event, "sender": who, "room": room, "rates": counted}


def _who(what: Happening, sender: Sender, content: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": what.sender,
        "localpart": localpart_of(what.sender),
        "server": domain_of(what.sender),
        "local": sender.local,
        "age_s": sender.age_s,
        "power": sender.power,
        "admin": sender.admin,
        "guest": sender.guest,
        "past_actions": sender.past_actions,
        "joined_s": sender.joined_s,
        "name": folded(_string(content, "displayname") or localpart_of(what.sender)),
        "address": what.address,
    }


def _text(content: Mapping[str, Any]) -> str:
    replaced = content.get("m.new_content")
    parts = [content, replaced] if isinstance(replaced, dict) else [content]
    found = [part[key] for part in parts for key in _TEXT_KEYS if isinstance(part.get(key), str)]
    return _clean("\n".join(dict.fromkeys(found))[:8_192])


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
