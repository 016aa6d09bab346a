"""Every metric of the detector."""

from __future__ import annotations

from driftsonde.core.errors import POISON_REASONS
from driftsonde.core.metrics import Metrics

OUTCOMES = (
    "counted", "empty", "duplicate", "stale", "pending", "learned", "gone", "superseded", "removed", "retracted", "unmatched",
    "ignored", "test_event", "too_late", "retryable", "deferred", "bug", *POISON_REASONS,
)  # fmt: skip
LEFT_OUT = ("too_late", "invalid_time")
VERDICTS = ("ok", "warning", "drift", "insufficient", "untrusted")


class DetectorMetrics:
    """Counters, gauges and histograms; label values are closed lists."""

    def __init__(self) -> None:
        metrics = Metrics("detector")
        self.registry = metrics.registry
        self.drops = metrics.counter("drops", "Drops by what became of them.", "outcome", OUTCOMES)
        self.rows = metrics.counter("rows", "Rows counted into sketches.")
        self.left_out = metrics.counter("rows_left_out", "Rows that were read and not counted.", "reason", LEFT_OUT)
        self.bytes = metrics.counter("bytes", "Bytes of the objects that were read.")
        self.unverified = metrics.counter(
            "unverified_drops", "Drops whose bytes could not be compared with a checksum: of S3, or of Parquet pages."
        )
        self.verdicts = metrics.counter("verdicts", "Windows judged, revisions included.", "verdict", VERDICTS)
        self.episodes = metrics.counter("episodes", "Episodes opened.", "kind", ("drift", "untrusted"))
        self.failures = metrics.counter("judge_failures", "Monitors that could not be judged for an unexpected reason.")
        self.damaged = metrics.counter("damaged_parts", "Stored parts that could not be read; their objects are read again.")
        self.in_flight = metrics.gauge("in_flight", "Messages being worked on.")
        self.stage = metrics.seconds("stage", "Time spent by stage.", "stage", ("read", "commit", "evaluate"))
        self.latency = metrics.seconds("event_to_verdict", "From S3's event time to the verdict's commit.")
        self.published = metrics.counter("published", "Events published.")
        self.stall = metrics.gauge(
            "loop_stall_seconds", "For how long the event loop did not come round at most, in the last five seconds."
        )
        self.outbox = metrics.gauge("outbox_depth", "Events that wait to be published.")
        self.outbox_age = metrics.gauge("outbox_age_seconds", "For how long the oldest event waits to be published.")

    def count(self, outcome: str) -> None:
        """Count what became of a drop."""
        self.drops.labels(outcome).inc()
