"""Helpers for Prometheus metrics: one registry per service, series that exist at zero, bounded labels."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)


class Metrics:
    """Creates the metrics of one service as `driftsonde_<service>_<name>`.

    Label values come from closed lists, given here so that every series exists at zero and can be alerted on, or from
    configured names; never from data.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self._prefix = f"driftsonde_{service}"

    def counter(self, name: str, help_text: str, label: str | None = None, values: Iterable[str] = ()) -> Counter:
        """Create a counter; `name` without `_total`."""
        counter = Counter(f"{self._prefix}_{name}", help_text, [label] if label else [], registry=self.registry)
        for value in values:
            counter.labels(value)
        return counter

    def gauge(self, name: str, help_text: str, labels: tuple[str, ...] = ()) -> Gauge:
        """Create a gauge."""
        return Gauge(f"{self._prefix}_{name}", help_text, labels, registry=self.registry)

    def seconds(self, name: str, help_text: str, label: str | None = None, values: Iterable[str] = ()) -> Histogram:
        """Create a histogram of durations; `name` without `_seconds`."""
        histogram = Histogram(
            f"{self._prefix}_{name}_seconds", help_text, [label] if label else [], buckets=LATENCY_BUCKETS, registry=self.registry
        )
        for value in values:
            histogram.labels(value)
        return histogram
