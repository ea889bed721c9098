"""How a page of the console is declared: its path, and what a visitor must hold to see it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from admin.console.desk import Asked, Desk, Visit
from homeserver.core.operators import Permission
from homeserver.web.endpoint import Access, Answer, Reach, Request, endpoint

_PARAMETER = re.compile(r"\{([a-z_]+)\}")

Handler = Callable[..., Awaitable[Answer]]


class Topic(Protocol):
    """A module's pages."""

    @property
    def desk(self) -> Desk: ...


def page(
    method: str, path: str, *, needs: Permission | None, reach: Reach | None = None
) -> Callable[[Handler], Handler]:
    """Declares a method that takes a `Visit` and the path's parameters as texts.

    With POST the visit holds the fields of a form that is certainly ours. `needs=None` only where people log in.
    `reach` says which rooms it is about; without it, it isn't for those who are bound to rooms.
    """

    def declare(handler: Handler) -> Handler:
        names = _PARAMETER.findall(path)

        async def receive(self: Any, request: Request, **parameters: str) -> Answer:
            async def serve(visit: Visit) -> Answer:
                return await handler(self, visit, **parameters)

            desk: Desk = self.desk
            return await desk.receive(request, Asked(needs, reach, parameters, method == "POST"), serve)

        kinds: dict[str, Any] = {"request": Request, **dict.fromkeys(names, str)}
        plain = inspect.Parameter.POSITIONAL_OR_KEYWORD
        parameters = [inspect.Parameter(name, plain, annotation=kinds.get(name)) for name in ("self", *kinds)]
        receive.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        receive.__annotations__ = {**kinds, "return": Answer}
        receive.__name__, receive.__qualname__ = handler.__name__, handler.__qualname__
        receive.__module__, receive.__doc__ = handler.__module__, handler.__doc__
        declared = endpoint(
            method,
            path,
            access=Access.NONE,
            limit="console",
            raw_body=method == "POST",
            needs_disk=False,
            spec="",
            reach=reach,
        )
        return declared(receive)

    return declare
