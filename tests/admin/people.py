"""Operators of every role, logged in."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from tests.kit.server import SHARED_SECRET, Client, RunningServer

OPERATORS = "/_hansa/admin/v1/operators/{}"
PASSWORD = "correct horse battery"


@dataclass(frozen=True, slots=True)
class Crew:
    owner: Client
    admin: Client
    moderator: Client
    auditor: Client
    user: Client


async def owner_of(server: RunningServer, name: str = "owner") -> Client:
    """An account made with the shared secret, as the first administrator's is."""
    anonymous = server.anonymous()
    nonce = (await anonymous.get("/_synapse/admin/v1/register")).ok()["nonce"]
    text = "\x00".join([nonce, name, PASSWORD, "admin"])
    mac = hmac.new(SHARED_SECRET.encode(), text.encode(), hashlib.sha1).hexdigest()
    body = {"nonce": nonce, "username": name, "password": PASSWORD, "admin": True, "mac": mac}
    (await anonymous.post("/_synapse/admin/v1/register", body=body)).ok()
    return await server.login(name)


async def crew_of(server: RunningServer) -> Crew:
    owner = await owner_of(server)
    others = {}
    for role in ("admin", "moderator", "auditor"):
        others[role] = await server.user(f"the-{role}")
        (await owner.put(OPERATORS, others[role].user_id, body={"role": role})).ok()
    return Crew(owner, others["admin"], others["moderator"], others["auditor"], await server.user("user"))
