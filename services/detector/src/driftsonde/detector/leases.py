"""What the metrics say of leases: how many are held, the oldest of them, and how long messages waited to be received."""

from __future__ import annotations

import time
from collections.abc import Sequence

from driftsonde.core.ports import Clock, Lease
from driftsonde.detector.metrics import DetectorMetrics


class Leases:
    """Watches the leases of this process."""

    def __init__(self, metrics: DetectorMetrics, clock: Clock) -> None:
        self._metrics, self._clock = metrics, clock
        self._since: dict[Lease, float] = {}

    def polled(self, seconds: float, leases: Sequence[Lease]) -> None:
        """Note what a poll brought; one that brought nothing says that nothing waits."""
        waits = [max(0.0, (self._clock.now() - lease.sent_at).total_seconds()) for lease in leases if lease.sent_at is not None]
        for waited in waits:
            self._metrics.time_in_queue.observe(waited)
        if waits or not leases:
            self._metrics.received_age.set(max(waits, default=0.0))
        if leases:
            self._metrics.stage.labels("receive").observe(seconds)
        self._since |= dict.fromkeys(leases, time.monotonic())
        self._metrics.held.set(len(self._since))

    def ended(self, lease: Lease) -> None:
        """Forget a lease."""
        self._since.pop(lease, None)
        self._metrics.held.set(len(self._since))

    def show(self) -> None:
        """Say for how long the oldest has been held."""
        oldest = min(self._since.values(), default=None)
        self._metrics.oldest_lease.set(0.0 if oldest is None else time.monotonic() - oldest)
