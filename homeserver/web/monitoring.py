"""What monitoring asks: metrics on their own listener, whether the process lives, whether it can serve."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from homeserver.core.errors import MatrixError
from homeserver.runtime.metrics import CONTENT_TYPE, Metrics
from homeserver.web.endpoint import Access, Answer, Json, endpoint


class MetricsEndpoint:
    """Prometheus' text format. Only a listener of its own serves it."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    @endpoint("GET", "/metrics", access=Access.NONE, spec="")
    async def read(self) -> Answer:
        return Answer(self._metrics.render(), content_type=CONTENT_TYPE)


class HealthEndpoints:
    """`/health`: the process answers. `/ready`: the database answers too; 503 if not."""

    def __init__(self, check_database: Callable[[], Awaitable[object]]) -> None:
        self._check_database = check_database

    @endpoint("GET", "/health", access=Access.NONE, spec="")
    async def alive(self) -> Json:
        return {"status": "ok"}

    @endpoint("GET", "/ready", access=Access.NONE, spec="", timeout_s=5.0)
    async def ready(self) -> Json:
        try:
            await self._check_database()
        except MatrixError as error:
            raise MatrixError("the database does not answer", status=503) from error
        return {"status": "ready"}
