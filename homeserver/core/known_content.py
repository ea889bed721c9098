"""What events of known types must hold, where an operator wants it checked of events that their own users send.

Only the fields that break clients when they are missing or of another kind; all others, and all other types, are free.
spec: client-server-api/#instant-messaging
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import msgspec

from homeserver.core.errors import BadJson
from homeserver.core.identifiers import is_mxc

_Mxc = Annotated[str, msgspec.Meta(pattern=r"^mxc://[0-9A-Za-z.:\[\]-]{1,255}/[0-9A-Za-z_-]{1,255}\Z")]
_Geo = Annotated[str, msgspec.Meta(pattern="^geo:")]
_Count = Annotated[int, msgspec.Meta(ge=0)]


class Info(msgspec.Struct, frozen=True):
    """Of a file."""

    mimetype: str | None = None
    size: _Count | None = None
    w: _Count | None = None
    h: _Count | None = None
    duration: _Count | None = None
    thumbnail_url: _Mxc | None = None


class Message(msgspec.Struct, frozen=True):
    """spec: client-server-api/#mroommessage"""

    msgtype: str
    body: str
    format: str | None = None
    formatted_body: str | None = None
    url: _Mxc | None = None
    geo_uri: _Geo | None = None
    info: Info | None = None


class Sticker(msgspec.Struct, frozen=True):
    """spec: client-server-api/#msticker"""

    body: str
    info: Info
    url: _Mxc | None = None


class Annotation(msgspec.Struct, frozen=True):
    """Which event, and with what."""

    rel_type: Literal["m.annotation"]
    event_id: str
    key: str


class Reaction(msgspec.Struct, frozen=True):
    """spec: client-server-api/#mreaction"""

    relation: Annotation = msgspec.field(name="m.relates_to")


class Place(msgspec.Struct, frozen=True):
    """Where something is."""

    uri: _Geo
    description: str | None = None


class Reference(msgspec.Struct, frozen=True):
    """Which sharing of a place it belongs to."""

    rel_type: Literal["m.reference"]
    event_id: str


class Beacon(msgspec.Struct, frozen=True):
    """A place that is shared as it changes (MSC3672)."""

    relation: Reference = msgspec.field(name="m.relates_to")
    location: Place | None = msgspec.field(name="m.location", default=None)
    unstable_location: Place | None = msgspec.field(name="org.matrix.msc3488.location", default=None)
    ts: int | None = msgspec.field(name="m.ts", default=None)
    unstable_ts: int | None = msgspec.field(name="org.matrix.msc3488.ts", default=None)


class BeaconInfo(msgspec.Struct, frozen=True):
    """That, and how long, somebody shares their place (MSC3672). `live` says whether they still do."""

    timeout: _Count
    live: bool
    description: str | None = None


class Name(msgspec.Struct, frozen=True):
    """spec: client-server-api/#mroomname"""

    name: str


class Topic(msgspec.Struct, frozen=True):
    """spec: client-server-api/#mroomtopic"""

    topic: str


class Avatar(msgspec.Struct, frozen=True):
    """spec: client-server-api/#mroomavatar"""

    url: str | None = None
    info: Info | None = None


class Pinned(msgspec.Struct, frozen=True):
    """spec: client-server-api/#mroompinned_events"""

    pinned: list[str]


_KINDS: Mapping[str, type[msgspec.Struct]] = {
    "m.room.message": Message,
    "m.sticker": Sticker,
    "m.reaction": Reaction,
    "m.beacon": Beacon,
    "org.matrix.msc3672.beacon": Beacon,
    "m.beacon_info": BeaconInfo,
    "org.matrix.msc3672.beacon_info": BeaconInfo,
    "m.room.name": Name,
    "m.room.topic": Topic,
    "m.room.avatar": Avatar,
    "m.room.pinned_events": Pinned,
}


_PICTURES = {"m.room.avatar": "url", "m.room.member": "avatar_url"}


def check_picture(type: str, content: Mapping[str, Any]) -> None:
    """Raises BadJson for the picture of a room or a member whose URI leads clients elsewhere than to a file.

    What is no mxc URI at all, or no string, clients take for no picture.
    """
    uri = content.get(_PICTURES.get(type, ""))
    if isinstance(uri, str) and uri[:4].lower() == "mxc:" and not is_mxc(uri):
        raise BadJson(f"{_PICTURES[type]} must look like mxc://server/media-id")


def check_content(type: str, content: Mapping[str, Any]) -> None:
    """Raises BadJson, which names the field, for content that its type can't have.

    Content without any field is that of an event that is to mean nothing any more, and is free. Of an edit what it puts
    in another's place is looked at as well.
    """
    kind = _KINDS.get(type)
    if kind is None or not content:
        return
    parts: dict[str, Any] = {type: dict(content)}
    if "m.new_content" in content:
        parts[f"{type}, m.new_content"] = content["m.new_content"]
    for name, part in parts.items():
        try:
            msgspec.convert(part, kind)
        except msgspec.ValidationError as error:
            raise BadJson(f"{name}: {error}") from None
