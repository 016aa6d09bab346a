"""Every metric of the retrainer."""

from __future__ import annotations

from driftsonde.core.metrics import Metrics
from driftsonde.retrainer.planner import REASONS

STATES = ("accepted", "waiting", "refused", "promoted", "held", "done", "failed")


class RetrainerMetrics:
    """Counters and gauges; label values are closed lists."""

    def __init__(self) -> None:
        metrics = Metrics("retrainer")
        self.registry = metrics.registry
        self.plans = metrics.counter("plans", "Plans by the state they reached.", "state", STATES)
        self.refusals = metrics.counter("refusals", "Plans that wait or were refused, by reason.", "reason", REASONS)
        self.jobs = metrics.counter("jobs", "SageMaker jobs created, by step.", "step", ("prepare", "train", "evaluate", "transform"))
        self.failures = metrics.counter(
            "job_failures", "Jobs that failed or were stopped, by step.", "step", ("prepare", "train", "evaluate", "transform")
        )
        self.published = metrics.counter("published", "Events published.")
        self.outbox = metrics.gauge("outbox_depth", "Events that wait to be published.")
        self.outbox_age = metrics.gauge("outbox_age_seconds", "For how long the oldest event waits to be published.")
