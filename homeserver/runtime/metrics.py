"""What the server counts and times, for Prometheus. An object, so that a process can hold two servers.

Invariant: labels come from our own code (endpoints, consumers, tasks), never from a caller or a peer; each metric has
a bounded number of label values, and whatever is beyond becomes `other`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from homeserver.runtime.clock import Clock

CONTENT_TYPE = CONTENT_TYPE_LATEST
LABEL_VALUES_MAX = 1000

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})
# From a cached answer to a slow one; /sync waits are seen in the last ones.
_SECONDS = (0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_LOOP_LAG_EVERY_S = 0.5

Reading = Callable[[], Mapping[str, float]]


class Metrics:
    """One registry and the metrics that every part shares. Parts make their own by `counter`, `histogram`, `watch`."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        GCCollector(registry=self._registry)
        self._requests = self.counter(
            "hansa_requests_total", "Requests by how they ended.", "endpoint", "method", "status"
        )
        self._seconds = self.histogram("hansa_request_seconds", "Time to answer.", "endpoint")
        self._failures = self.counter("hansa_task_failures_total", "Failures of background tasks.", "task")
        self._loop_lag = self.histogram("hansa_loop_lag_seconds", "How late the event loop is.")
        self._ended: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def counter(self, name: str, sentence: str, *labels: str) -> Counter:
        """A number that only grows. The labels' values must come from our own code."""
        return Counter(name.removesuffix("_total"), sentence, labels, registry=self._registry)

    def gauge(self, name: str, sentence: str, *labels: str) -> Gauge:
        """A number that goes up and down."""
        return Gauge(name, sentence, labels, registry=self._registry)

    def histogram(self, name: str, sentence: str, *labels: str, buckets: Sequence[float] = _SECONDS) -> Histogram:
        """Seconds (or what `buckets` measure), by how often they were at most so many."""
        return Histogram(name, sentence, labels, buckets=buckets, registry=self._registry)

    def watch(self, name: str, sentence: str, label: str, read: Reading) -> None:
        """A gauge that is read when it is asked for: `read` gives the value for each value of the label."""
        self._registry.register(_Watched(name, sentence, label, read))

    def watch_consumers(self, lag: Reading) -> None:
        """How many positions of the journal each consumer is behind, by its name."""
        self.watch("hansa_consumer_lag_positions", "Positions a consumer has not seen yet.", "consumer", lag)

    def watch_federation(self, servers: Reading) -> None:
        """How many other servers don't have all that is meant for them, by kind."""
        self.watch(
            "hansa_federation_servers",
            "Other servers that something waits for, that lag, or that fail.",
            "state",
            servers,
        )

    def watch_database(self, size: Callable[[], tuple[int, int]]) -> None:
        """The pool's connections: all that are open, and the idle ones among them."""

        def read() -> Mapping[str, float]:
            opened, idle = size()
            return {"open": opened, "idle": idle}

        self.watch("hansa_database_connections", "Connections to the database.", "state", read)

    def request_ended(self, endpoint: str, method: str, status: int, seconds: float) -> None:
        """Counts one request. `endpoint` is the declared name, `unknown` for none."""
        key = (endpoint, method if method in _METHODS else "other", status)
        found = self._ended.get(key)
        if found is None:
            if len(self._ended) >= LABEL_VALUES_MAX * 5:
                key = ("other", "other", status)
            labelled = self._requests.labels(key[0], key[1], str(status)), self._seconds.labels(key[0])
            found = self._ended[key] = labelled
        found[0].inc()
        found[1].observe(seconds)

    def task_failed(self, task: str) -> None:
        """Counts a failure of a background task, which is restarted."""
        self._failures.labels(task).inc()

    async def measure_loop(self, clock: Clock) -> None:
        """Runs for ever as a task: how late a sleep ends is how long something held the event loop."""
        while True:
            before = clock.monotonic_s()
            await clock.sleep(_LOOP_LAG_EVERY_S)
            self._loop_lag.observe(max(0.0, clock.monotonic_s() - before - _LOOP_LAG_EVERY_S))

    def value(self, name: str, **labels: str) -> float:
        """The present value of one sample, 0 when nothing was counted: for tests and the console."""
        return self._registry.get_sample_value(name, labels) or 0.0

    def render(self) -> bytes:
        """All of it in Prometheus' text format (`CONTENT_TYPE`)."""
        return generate_latest(self._registry)


class _Watched(Collector):
    def __init__(self, name: str, sentence: str, label: str, read: Reading) -> None:
        self._name = name
        self._sentence = sentence
        self._label = label
        self._read = read

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(self._name, self._sentence, labels=[self._label])
        for value, number in _bounded(self._read()):
            family.add_metric([value], number)
        yield family

    def describe(self) -> Iterable[Any]:
        return [GaugeMetricFamily(self._name, self._sentence, labels=[self._label])]


def _bounded(values: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """At most so many label values; the greatest numbers are kept."""
    if len(values) <= LABEL_VALUES_MAX:
        yield from values.items()
        return
    ordered = sorted(values.items(), key=lambda pair: -pair[1])
    yield from ordered[: LABEL_VALUES_MAX - 1]
    yield "other", sum(number for _, number in ordered[LABEL_VALUES_MAX - 1 :])
