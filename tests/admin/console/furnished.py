"""A server with something on every page of the console, and the addresses of all of them."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from functools import partial
from urllib.parse import quote

from PIL import Image

from homeserver.web.endpoint import Endpoint
from tests.admin.console.visitor import Visitor
from tests.admin.people import Crew
from tests.kit.server import Client, RunningServer
from tests.kit.until import until

_SPAM = "/_hansa/admin/v1/spam"
# What isn't a page.
_NO_PAGES = ("/admin/static/{name}", "/admin/login", "/admin/code")
Ids = Mapping[str, str]


async def furnish(server: RunningServer, crew: Crew, text: str, visitor: Visitor) -> dict[str, str]:
    """Everything that somebody can name is named so. What is to stand in paths, by parameter or by whole path.

    `visitor` is an operator at the console, for what can be made there alone.
    """
    user = crew.user
    room_id, event_id = await _talk(user, text)
    await crew.moderator.join(room_id)
    await crew.moderator.post("/rooms/{}/report/{}", room_id, event_id, body={"reason": text})
    await crew.moderator.post("/users/{}/report", user.user_id, body={"reason": text})
    media_id = await picture_of(user)
    sql = "INSERT INTO unreachable_servers VALUES ('elsewhere.test', 1, 2000000000000, 3, $1)"
    await server.db.execute(sql, text)
    rules = await _rules(server, crew, room_id, text)
    policy_room = await crew.moderator.create_room(name=text)
    body = {"entity": text[:200], "reason": text, "recommendation": text[:100]}
    await crew.moderator.put("/rooms/{}/state/m.room.name/", policy_room, body={"name": text})
    await crew.moderator.put("/rooms/{}/state/m.policy.rule.user/{}", policy_room, "rule", body=body)
    (await crew.moderator.put(_SPAM + "/policy_lists/{}", policy_room)).ok()
    await visitor.get("/admin/cases")
    case_id = await server.db.fetchval("SELECT min(case_id) FROM cases WHERE entity = $1", user.user_id)
    await visitor.get(f"/admin/cases/{case_id}")
    assert (await visitor.post(f"/admin/cases/{case_id}/note", {"text": text})).status == 303
    return {
        "case_id": str(case_id),
        "user_id": user.user_id,
        "room_id": room_id,
        "event_id": event_id,
        "report_id": "1",
        "/admin/spam/policy/{room_id}": policy_room,
        "media_id": media_id,
        "server_name": "elsewhere.test",
        **rules,
        **await _evidence(server, crew, room_id, text),
    }


async def _evidence(server: RunningServer, crew: Crew, room_id: str, text: str) -> dict[str, str]:
    """A hold, an export that is done, a room whose messages expire, and a look at what would go."""
    admin = crew.admin
    held = {"kind": "user", "target": crew.auditor.user_id, "reason": text}
    (await admin.post("/_hansa/admin/v1/holds", body=held)).ok()
    wish = {"kind": "room", "target": room_id, "reason": text, "formats": ["jsonl", "html", "text"]}
    export_id = (await admin.post("/_hansa/admin/v1/exports", body=wish)).ok()["export_id"]
    await crew.user.put("/rooms/{}/state/m.room.retention/", room_id, body={"max_lifetime": 30 * 86_400_000})
    ahead = {"room_id": room_id, "wish_s": 86_400}
    preview_id = (await admin.post("/_hansa/admin/v1/retention/preview", body=ahead)).ok()["job_id"]
    for job_id in (export_id, preview_id):
        await until(partial(_is_done, server, job_id), within_s=60)
    return {"export_id": export_id, "preview_id": preview_id, "file_name": "manifest.json"}


async def _is_done(server: RunningServer, job_id: str) -> bool:
    state: str | None = await server.db.fetchval("SELECT state FROM admin_jobs WHERE job_id = $1", job_id)
    return state == "complete"


async def _talk(user: Client, text: str) -> tuple[str, str]:
    await user.put("/profile/{}/displayname", user.user_id, body={"displayname": text[:250]})
    await user.put("/devices/{}", user.device_id, body={"display_name": text})
    room_id = await user.create_room(name=text, topic=text, preset="public_chat", visibility="public")
    await user.send(room_id, "Good morning")
    event_id = await user.send(room_id, text, formatted_body=text)
    headers = {"User-Agent": text.encode("ascii", "ignore").decode(), "Content-Type": "text/html"}
    path = "/_matrix/media/v3/upload"
    await user.request("POST", path, data=text.encode(), headers=headers, query={"filename": text})
    return room_id, event_id


async def picture_of(user: Client) -> str:
    """A small one that is really one: its id."""
    drawn = io.BytesIO()
    Image.new("RGB", (64, 48), "teal").save(drawn, "PNG")
    headers = {"Content-Type": "image/png"}
    path = "/_matrix/media/v3/upload"
    sent = await user.request("POST", path, data=drawn.getvalue(), headers=headers, query={"filename": "teal.png"})
    uri: str = sent.ok()["content_uri"]
    return uri.rpartition("/")[2]


async def _rules(server: RunningServer, crew: Crew, room_id: str, text: str) -> dict[str, str]:
    """A rule with versions, decisions, an appeal and a trial; a list; all by the API."""
    mod, user = crew.moderator, crew.user
    rule = {
        "title": text[:200],
        "when": ["event"],
        "condition": "event.text.contains('casino')",
        "actions": [{"kind": "deny", "reason": text[:200]}],
        "stage": "enforced",
    }
    (await mod.put(_SPAM + "/rules/{}", "followers", body={"rule": rule, "why": text})).ok()
    changed = {**rule, "title": text[:190], "version": 1}
    (await mod.put(_SPAM + "/rules/{}", "followers", body={"rule": changed, "why": text})).ok()
    said = {"msgtype": "m.text", "body": f"Come to the casino: {text}"}
    refused = await user.put("/rooms/{}/send/m.room.message/{}", room_id, "followers", body=said)
    assert refused.status == 403
    [decision] = (await mod.get(_SPAM + "/decisions")).ok()["decisions"]
    appeal = {"code": decision["code"], "text": text}
    (await user.request("POST", "/_hansa/client/v1/appeals", body=appeal)).ok()
    words = {"kind": "words", "entries": [text[:500], "casino"]}
    (await mod.put(_SPAM + "/lists/{}", "bad-words", body=words)).ok()
    tried = {"rule": {**changed, "condition": "event.length > 0"}, "days": 30}
    job_id = (await mod.post(_SPAM + "/rules/{}/trial", "followers", body=tried)).ok()["job_id"]
    await until(partial(_is_done, server, job_id), within_s=60)
    return {
        "rule_id": "followers",
        "decision_id": str(decision["decision_id"]),
        "name": "bad-words",
        "job_id": job_id,
    }


def pages_of(server: RunningServer, ids: Ids) -> list[tuple[Endpoint, str]]:
    """Each page of the console with its address. A KeyError names what `furnish` doesn't make yet."""
    found = []
    for declared in server.hansa.endpoints:
        path = declared.paths[0]
        if declared.method == "GET" and path.startswith("/admin") and path not in _NO_PAGES:
            found.append((declared, _filled(path, ids)))
    return sorted(found, key=lambda page: page[1])


def _filled(path: str, ids: Ids) -> str:
    return re.sub(r"\{([a-z_]+)\}", lambda name: quote(ids.get(path) or ids[name[1]], safe=""), path)
