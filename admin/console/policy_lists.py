"""Policy lists: which are followed, what they say, who keeps whom out, and lists of one's own."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import msgspec
import re2

from admin.console.acting import reason_of
from admin.console.desk import Desk, Visit, policy_path
from admin.console.page import page
from admin.spam import storage
from admin.spam.list_rules import KINDS
from admin.spam.policy_lists import PolicyLists
from admin.spam.room_api import EntryBody, EntryQuery, FollowBody, NewListBody, PolicyListEndpoints
from admin.spam.rules import glob
from admin.storage import console_reads
from admin.storage.console_reads import Shown
from homeserver.core.errors import InvalidParam, NotFound
from homeserver.core.identifiers import RoomId, domain_of, parse_room_id
from homeserver.core.operators import Permission
from homeserver.storage.database import Database
from homeserver.web.endpoint import Answer, Reach

_PATH = "/admin/spam/policy"
_COLUMNS = ("kind", "entity", "recommendation", "reason", "sender", "ts")
_HASHES = ("hashes", "org.matrix.msc4205.hashes")
_STATES = ("all", *KINDS)


class PolicyListPages:
    """/admin/spam/policy."""

    def __init__(self, desk: Desk, db: Database, lists: PolicyLists, faces: PolicyListEndpoints) -> None:
        self.desk = desk
        self._db = db
        self._lists = lists
        self._faces = faces

    @page("GET", _PATH, needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def followed(self, visit: Visit) -> Answer:
        """With a name asked for, only the lists that keep it out, and by which entry."""
        name = visit.asked("q")
        rows = []
        for room_id in [row.room_id for row in self._lists.followed]:
            entries = await self._entries(room_id)
            against = [entry for entry in entries if is_about(entry, name)] if name else []
            if not name or against:
                found = await console_reads.room(self._db, room_id)
                shown = {"room_id": room_id, "name": found["name"] if found else "", "entries": len(entries)}
                rows.append({**shown, "against": against[:10]})

        async def fetch(limit: int) -> list[Shown]:
            return rows[:limit]

        columns = ("room_id", "name", "entries")
        return await self.desk.listing(visit, "policy-lists", columns, fetch, {"q": name}, template="policy_lists")

    @page("GET", _PATH + "/{room_id}", needs=Permission.READ_RULES, reach=Reach.SERVER)
    async def entries(self, visit: Visit, room_id: str) -> Answer:
        if room_id not in [row.room_id for row in self._lists.followed]:
            raise NotFound("this list isn't followed")
        found = await console_reads.room(self._db, room_id)
        wanted, state, after = visit.asked("q").lower(), visit.asked("state") or "all", visit.asked("after", 1_000)

        async def fetch(limit: int) -> list[Shown]:
            rows = [entry for entry in await self._entries(RoomId(room_id)) if state in ("all", entry["kind"])]
            rows = [entry for entry in rows if wanted in f"{entry['entity']} {entry['reason']}".lower()]
            rows.sort(key=lambda entry: entry["place"])
            return [entry for entry in rows if entry["place"] > after][:limit]

        values = {
            "room_id": room_id,
            "name": found["name"] if found else "",
            "q": visit.asked("q"),
            "state": state,
            "states": _STATES,
            "kinds": KINDS,
        }
        return await self.desk.listing(
            visit, "policy-entries", _COLUMNS, fetch, values, template="policy_list", more="place"
        )

    @page("POST", _PATH, needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def follow(self, visit: Visit) -> Answer:
        room_id = parse_room_id(visit.fields.get("room_id", "").strip())
        await self._faces.follow(visit.operator, room_id, FollowBody())
        return self.desk.go(f"{_PATH}?done=followed")

    @page("POST", "/admin/spam/policy-new", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def new(self, visit: Visit) -> Answer:
        name = visit.fields.get("name", "").strip()
        made = await self._faces.create(visit.operator, NewListBody(name=name, public="public" in visit.fields))
        return self.desk.go(f"{policy_path(made['room_id'])}?done=followed")

    @page("POST", _PATH + "/{room_id}/unfollow", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def unfollow(self, visit: Visit, room_id: str) -> Answer:
        await self._faces.unfollow(visit.operator, parse_room_id(room_id))
        return self.desk.go(f"{_PATH}?done=unfollowed")

    @page("POST", _PATH + "/{room_id}/entry", needs=Permission.CHANGE_RULES, reach=Reach.SERVER)
    async def change(self, visit: Visit, room_id: str) -> Answer:
        """Publishes an entry, or takes one back."""
        kind, entity = visit.fields.get("kind", ""), visit.fields.get("entity", "").strip()
        room, given = parse_room_id(room_id), {"kind": kind, "entity": entity, "reason": reason_of(visit)}
        try:
            if visit.fields.get("act") == "withdraw":
                await self._faces.remove(visit.operator, room, msgspec.convert(given, EntryQuery))
            else:
                await self._faces.add(visit.operator, room, msgspec.convert(given, EntryBody))
        except msgspec.ValidationError as error:
            raise InvalidParam(str(error)) from None
        return self.desk.go(f"{policy_path(room_id)}?done=entry")

    async def _entries(self, room_id: RoomId) -> list[Shown]:
        rows = await storage.policy_rules(self._db, [room_id])
        return list(_shown(json.loads(row["json"]) for row in rows))


def is_about(entry: Shown, name: str) -> bool:
    """Whether an entry of a list is about this user, server or room; about a user also by their server."""
    names = [name] if entry["kind"] != "server" or not name.startswith("@") else [domain_of(name)]
    for one in names:
        if entry["hash"]:
            digest = base64.b64encode(hashlib.sha256(one.encode("utf-8", "replace")).digest()).decode().rstrip("=")
            if entry["hash"] == digest:
                return True
        elif re2.compile(glob(entry["entity"])).fullmatch(one):
            return True
    return False


def _shown(events: Iterable[dict[str, Any]]) -> Iterable[Shown]:
    """Entries that say something; an emptied one was taken back."""
    for event in events:
        content, kind = event.get("content", {}), str(event.get("type", "")).rpartition(".")[2]
        hashes: dict[str, Any] = next((content[key] for key in _HASHES if isinstance(content.get(key), dict)), {})
        entity, digest = content.get("entity"), hashes.get("sha256")
        if kind not in KINDS or not (isinstance(entity, str) or isinstance(digest, str)):
            continue
        name = entity if isinstance(entity, str) else f"sha256:{digest}"
        yield {
            "place": f"{kind} {name}",
            "kind": kind,
            "entity": name,
            "hash": str(digest).rstrip("=").replace("-", "+").replace("_", "/") if not isinstance(entity, str) else "",
            "recommendation": str(content.get("recommendation", "")),
            "reason": content["reason"] if isinstance(content.get("reason"), str) else "",
            "sender": event.get("sender", ""),
            "ts": event.get("origin_server_ts", 0),
        }
