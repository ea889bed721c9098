"""Metrics: what is counted, and that nobody outside can make them grow."""

from __future__ import annotations

from homeserver.runtime.metrics import LABEL_VALUES_MAX, Metrics


def test_requests_are_counted_by_endpoint() -> None:
    metrics = Metrics()
    metrics.request_ended("sync", "GET", 200, 0.003)
    metrics.request_ended("sync", "GET", 200, 0.004)
    assert metrics.value("hansa_requests_total", endpoint="sync", method="GET", status="200") == 2
    assert metrics.value("hansa_request_seconds_bucket", endpoint="sync", le="0.005") == 2
    assert b"hansa_request_seconds_count" in metrics.render()


def test_callers_add_no_labels() -> None:
    """T-O11: methods that a caller makes up are one label."""
    metrics = Metrics()
    for number in range(100):
        metrics.request_ended("unknown", f"M{number}", 405, 0.001)
    assert metrics.value("hansa_requests_total", endpoint="unknown", method="other", status="405") == 100


def test_label_values_are_bounded() -> None:
    """T-O11: a watched value shows its greatest entries and sums up the rest."""
    metrics = Metrics()
    metrics.watch("hansa_lag", "Lag.", "consumer", lambda: {f"c{n}": float(n) for n in range(LABEL_VALUES_MAX + 5)})
    assert metrics.render().count(b"\nhansa_lag{") == LABEL_VALUES_MAX
    assert metrics.value("hansa_lag", consumer="other") == sum(range(6))


def test_two_servers_in_one_process_count_apart() -> None:
    one, two = Metrics(), Metrics()
    one.task_failed("journal")
    assert one.value("hansa_task_failures_total", task="journal") == 1
    assert two.value("hansa_task_failures_total", task="journal") == 0
