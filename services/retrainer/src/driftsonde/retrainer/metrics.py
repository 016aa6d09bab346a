"""Every metric of the retrainer."""

from __future__ import annotations

from typing import get_args

from driftsonde.core.events import Answer
from driftsonde.core.metrics import Metrics
from driftsonde.retrainer.planner import REASONS

STATES = ("accepted", "waiting", "refused", "promoted", "held", "rolled_back", "done", "failed")
STEPS = ("prepare", "train", "evaluate", "transform", "execute")


class RetrainerMetrics:
    """Counters and gauges; label values are closed lists."""

    def __init__(self) -> None:
        metrics = Metrics("retrainer")
        self.registry = metrics.registry
        self.plans = metrics.counter("plans", "Plans by the state they reached.", "state", STATES)
        self.refusals = metrics.counter("refusals", "Plans that wait or were refused, by reason.", "reason", REASONS)
        self.decisions = metrics.counter("decisions", "Decision records, by answer; a revision counts again.", "answer", get_args(Answer))
        self.jobs = metrics.counter("jobs", "Jobs created, by step; execute is a pipeline or state machine.", "step", STEPS)
        self.failures = metrics.counter("job_failures", "Jobs that failed or were stopped, by step.", "step", STEPS)
        self.deployments = metrics.counter(
            "deployments", "Deployments to endpoints, by how they ended.", "outcome", ("live", "rolled_back")
        )
        self.published = metrics.counter("published", "Events published.")
        self.outbox = metrics.gauge("outbox_depth", "Events that wait to be published.")
        self.outbox_age = metrics.gauge("outbox_age_seconds", "For how long the oldest event waits to be published.")
