"""Acts on many at once: ticked on a list, shown before they are done, done one by one, and taken back in one go."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import quote

from admin.console.desk import Desk, Visit
from homeserver.core.errors import InvalidParam, MatrixError
from homeserver.web.endpoint import Answer

_TICK = "pick_"
# What takes an act back. Kicks and redactions can't be: the protocol has nothing that does.
OPPOSITES: Mapping[str, str] = {
    "suspend": "unsuspend",
    "unsuspend": "suspend",
    "lock": "unlock",
    "unlock": "lock",
    "block": "unblock",
    "unblock": "block",
    "ban": "unban",
    "quarantine": "unquarantine",
    "unquarantine": "quarantine",
    "protect": "unprotect",
    "unprotect": "protect",
}


def ticked(visit: Visit) -> list[str]:
    """What was ticked. Raises InvalidParam for nothing."""
    chosen = [value for name, value in visit.fields.items() if name.startswith(_TICK) and value]
    if not chosen:
        raise InvalidParam("tick what it is about")
    return list(dict.fromkeys(chosen))


def preview(
    desk: Desk,
    visit: Visit,
    act: str,
    chosen: Sequence[str],
    reason: str,
    *,
    back: str,
    said: Mapping[str, str] | None = None,
) -> Answer:
    """What would be done: a page with a form that says the same again, and `step` do. `said` is what events say."""
    values = {
        "act": act,
        "chosen": chosen,
        "reason": reason,
        "return_to": back,
        "said": said or {},
        "opposite": OPPOSITES.get(act),
    }
    return desk.page(visit, "bulk_plan", values)


async def done(
    desk: Desk, visit: Visit, act: str, chosen: Sequence[str], do: Callable[[str], Awaitable[object]], *, back: str
) -> Answer:
    """Does it with each, and says what came of it as `told` does."""
    failed: dict[str, str] = {}
    for one in chosen:
        try:
            await do(one)
        except MatrixError as error:
            failed[one] = error.message
    return told(desk, visit, act, chosen, failed, back=back)


def told(desk: Desk, visit: Visit, act: str, chosen: Sequence[str], failed: Mapping[str, str], *, back: str) -> Answer:
    """A page of what was done, with a form that takes it back, and of what wasn't and why.

    Where all was done and nothing takes it back: the list again.
    """
    done_with = [one for one in chosen if one not in failed]
    opposite = OPPOSITES.get(act) if done_with else None
    if not failed and opposite is None:
        return desk.go(f"{back}?done={quote(act, safe='')}")
    values = {
        "failed": sorted(failed.items()),
        "count": len(chosen),
        "done_with": done_with,
        "act": act,
        "opposite": opposite,
        "return_to": back,
    }
    return desk.page(visit, "bulk_done", values)
