"""Receipts in the form that clients, and bridges, get them. spec: client-server-api/#mreceipt"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from homeserver.core.identifiers import RoomId
from homeserver.storage.receipts import Receipt


def receipt_contents(found: Sequence[Receipt]) -> dict[RoomId, dict[str, Any]]:
    """The contents of `m.receipt` events, by room."""
    contents: dict[RoomId, dict[str, Any]] = {}
    for receipt in found:
        of_event = contents.setdefault(receipt.room_id, {}).setdefault(receipt.event_id, {})
        of_type = of_event.setdefault(receipt.receipt_type, {})
        told: dict[str, Any] = {"ts": receipt.ts}
        if receipt.thread_id:
            # The form has one place for (event, type, user): an unthreaded receipt says more than a threaded one.
            if "thread_id" not in of_type.get(receipt.user_id, {"thread_id": ""}):
                continue
            told["thread_id"] = receipt.thread_id
        of_type[receipt.user_id] = told
    return contents
