"""Acts on many at once: what was ticked on a list, shown before it is done, and done one by one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote

from admin.console.desk import Desk, Visit
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.web.endpoint import Answer

_TICK = "pick_"


def ticked(visit: Visit) -> list[str]:
    """What was ticked. Raises InvalidParam for nothing."""
    chosen = [value for name, value in visit.fields.items() if name.startswith(_TICK) and value]
    if not chosen:
        raise InvalidParam("tick what it is about")
    return list(dict.fromkeys(chosen))


def preview(desk: Desk, visit: Visit, act: str, chosen: Sequence[str], reason: str, *, back: str) -> Answer:
    """What would be done: a page with a form that says the same again, and `step` do."""
    values = {"act": act, "chosen": chosen, "reason": reason, "return_to": back}
    return desk.page(visit, "bulk_plan", values)


async def done(
    desk: Desk, visit: Visit, act: str, chosen: Sequence[str], do: Callable[[str], Awaitable[object]], *, back: str
) -> Answer:
    """Does it with each; where all went well back to the list, else a page of what didn't."""
    failed: list[tuple[str, str]] = []
    for one in chosen:
        try:
            await do(one)
        except MatrixError as error:
            failed.append((one, error.message))
    if not failed:
        return desk.go(f"{back}?done={quote(act, safe='')}")
    return desk.page(visit, "bulk_failed", {"failed": failed, "count": len(chosen), "return_to": back})
