"""Helpers for Prometheus metrics: one registry per service, series that exist at zero, bounded labels.

What happens in a process is counters and histograms. What is true of the store is gauges that one loop reads again and again:
every replica and every restart tells the same, so dashboards take `max` of the latter and `sum` of the former.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger

log = get_logger(__name__)

LATENCY_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
AGE_BUCKETS: Final = (0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
READ_EVERY: Final = 15.0
"""Seconds between two looks at the store; more where a look takes long."""
_REST: Final = 9

Kind = Literal["counter", "gauge", "histogram"]
Labels = str | Sequence[str]
Values = TypeVar("Values", bound=tuple[str, ...])


@dataclass(frozen=True, slots=True)
class Definition:
    """A metric as `docs/metrics.md` lists it; `stored` says that it is a state of the store."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    meaning: str
    stored: bool = False


class StoredGauge(Collector):
    """A gauge whose series are those of the latest look: replaced as a whole, so that what is gone disappears."""

    def __init__(self, name: str, help_text: str, labels: tuple[str, ...]) -> None:
        self._name, self._help, self._labels = name, help_text, labels
        self._values: Mapping[tuple[str, ...], float] = {}

    def show(self, values: Mapping[Values, float]) -> None:
        """Replace all series, from any thread."""
        self._values = {labels: value for labels, value in values.items()}  # noqa: C416  # dict(): of another type

    def set(self, value: float) -> None:
        """Replace the one series of a gauge without labels."""
        self._values = {(): value}

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Say what it is called, so that nothing else is."""
        yield GaugeMetricFamily(self._name, self._help, labels=self._labels)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the latest values."""
        family = GaugeMetricFamily(self._name, self._help, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family


@dataclass(frozen=True, slots=True)
class OutboxMetrics:
    """What a relay shows: the same of every service."""

    published: Counter
    waiting: Gauge
    age: Gauge
    took: Histogram


class Metrics:
    """Creates the metrics of one service as `driftsonde_<service>_<name>`.

    Label values come from closed lists, given here so that every series exists at zero and can be alerted on, or from
    configured names; never from data. The one exception, names of columns, has a hard cap.
    """

    def __init__(self, service: str) -> None:
        self.registry = CollectorRegistry()
        self.definitions: list[Definition] = []
        self._prefix = f"driftsonde_{service}"
        self._build(service)
        self._ready = self.gauge("ready", "1 while /readyz answers 200.")
        self._problem = self.stored(
            "problem", "1 for each part that /readyz complains of; no series where all is well.", "part", shared=False
        )
        self.read_at = self.gauge("state_read_timestamp_seconds", "When the gauges marked `state` were last read from the store; 0: never.")

    def counter(self, name: str, help_text: str, label: Labels = (), values: Iterable[Labels] = ()) -> Counter:
        """Create a counter; `name` without `_total`. With several labels each of `values` has a value for each."""
        counter = Counter(
            f"{self._prefix}_{name}", help_text, self._defined(f"{name}_total", "counter", help_text, label), registry=self.registry
        )
        for value in values:
            counter.labels(*_each(value))
        return counter

    def gauge(self, name: str, help_text: str, label: Labels = ()) -> Gauge:
        """Create a gauge."""
        return Gauge(f"{self._prefix}_{name}", help_text, self._defined(name, "gauge", help_text, label), registry=self.registry)

    def stored(self, name: str, help_text: str, label: Labels = (), *, shared: bool = True) -> StoredGauge:
        """Create a gauge of something that is true of the store, or of another thing that all replicas share."""
        gauge = StoredGauge(f"{self._prefix}_{name}", help_text, self._defined(name, "gauge", help_text, label, stored=shared))
        self.registry.register(gauge)
        return gauge

    def seconds(
        self, name: str, help_text: str, label: Labels = (), values: Iterable[Labels] = (), *, buckets: Sequence[float] = LATENCY_BUCKETS
    ) -> Histogram:
        """Create a histogram of durations; `name` without `_seconds`."""
        full = f"{name}_seconds"
        labels = self._defined(full, "histogram", help_text, label)
        histogram = Histogram(f"{self._prefix}_{full}", help_text, labels, buckets=buckets, registry=self.registry)
        for value in values:
            histogram.labels(*_each(value))
        return histogram

    def outbox(self, took: Histogram | None = None) -> OutboxMetrics:
        """Create what a relay shows; `took` where publishing is a stage among others."""
        return OutboxMetrics(
            self.counter("published_events", "Events published on the bus."),
            self.gauge("outbox_events", "Events that wait to be published for the first time."),
            self.gauge("outbox_age_seconds", "For how long the oldest event has waited to be published; 0: none waits."),
            took or self.seconds("publish", "Time until the broker had stored an event."),
        )

    def show_health(self, health: Health) -> None:
        """Say what /readyz says."""
        self._ready.set(not health.problems())
        self._problem.show({(part,): 1.0 for part in health.troubled()})

    def _build(self, service: str) -> None:
        name, text = "driftsonde_build_info", "1; which service in which version."
        self.definitions.append(Definition(name, "gauge", ("service", "version"), text))
        Gauge(name, text, ("service", "version"), registry=self.registry).labels(service, version("driftsonde-core")).set(1)

    def _defined(self, name: str, kind: Kind, help_text: str, label: Labels, *, stored: bool = False) -> tuple[str, ...]:
        labels = _each(label)
        self.definitions.append(Definition(f"{self._prefix}_{name}", kind, labels, help_text, stored))
        return labels


async def keep_showing(show: Callable[[], Awaitable[None]], stop: asyncio.Event, *, seconds: float = READ_EVERY) -> None:
    """Call `show` every few seconds until `stop` is set; what cannot be shown now never stops the service."""
    while not stop.is_set():
        began = time.monotonic()
        try:
            await show()
        except RetryableError as exc:
            log.warning("metrics of the store are not current", error=str(exc))
        except Exception:  # the only broad handler: a mistake in a metric is no reason to stop working
            log.exception("metrics of the store cannot be made")
        await wait_or_stop(stop, max(seconds, _REST * (time.monotonic() - began)))


def _each(given: Labels) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)
