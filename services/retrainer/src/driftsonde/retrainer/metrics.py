"""Every metric of the retrainer."""

from __future__ import annotations

from typing import Final, get_args

from driftsonde.core.events import Answer
from driftsonde.core.metrics import Metrics
from driftsonde.retrainer.planner import REASONS

STATES = ("accepted", "waiting", "refused", "promoted", "held", "rolled_back", "done", "failed")
STEPS = ("prepare", "train", "evaluate", "transform", "execute")
JOB_BUCKETS: Final = (10, 30, 60, 120, 300, 600, 1800, 3600, 2 * 3600, 4 * 3600, 8 * 3600, 24 * 3600)


class RetrainerMetrics:
    """What happens in this process, and (`stored`) what is true of the store.

    Args:
        currency: of the prices in the configuration.
    """

    def __init__(self, currency: str = "USD") -> None:
        metrics = Metrics("retrainer")
        self.registry, self.definitions, self.service, self.currency = metrics.registry, metrics.definitions, metrics, currency
        self._process(metrics)
        self._store(metrics)

    def _process(self, metrics: Metrics) -> None:
        self.plans = metrics.counter("plans", "Plans by the state they reached.", "state", STATES)
        self.refusals = metrics.counter("refusals", "Plans that wait or were refused, by reason.", "reason", REASONS)
        self.decisions = metrics.counter("decisions", "Decision records, by answer; a revision counts again.", "answer", get_args(Answer))
        self.jobs = metrics.counter("jobs", "Jobs created, by step; execute is a pipeline or state machine.", "step", STEPS)
        self.failures = metrics.counter("job_failures", "Jobs that failed or were stopped, by step.", "step", STEPS)
        self.job_time = metrics.seconds(
            "job",
            "What AWS counts of a job that ended, by step; of a tuning job all its training jobs.",
            "step",
            STEPS,
            buckets=JOB_BUCKETS,
        )
        self.cost = metrics.counter(
            "job_cost", "Estimated cost of jobs that ended, by step: seconds times `budget.prices`; 0 for what has no price.",
            ("step", "currency"), [(step, self.currency) for step in STEPS],
        )  # fmt: skip
        self.deployments = metrics.counter(
            "deployments", "Deployments to endpoints, by how they ended.", "outcome", ("live", "rolled_back")
        )
        self.queue = metrics.stored(
            "queue_messages", "About how many messages SQS says it has; no series while it does not answer, or where there is none.",
            ("queue", "state"),
        )  # fmt: skip
        self.outbox = metrics.outbox()

    def _store(self, metrics: Metrics) -> None:
        self.open_plans = metrics.stored("open_plans", "Plans that are not over, by state.", "state")
        self.waiting = metrics.stored("waiting_plans", "Plans that wait, by reason.", "reason")
        self.at_work = metrics.stored(
            "active_plans", "Plans of a monitor that are at work: 1 while it is retrained or deployed.", "monitor"
        )
        self.plan_age = metrics.stored(
            "oldest_plan_age_seconds", "For how long the longest has been in each state of being at work; 0: none is.", "state"
        )
        self.running = metrics.stored("running_jobs", "Jobs that were created and have not ended, by step.", "step")
        self.job_age = metrics.stored("oldest_job_age_seconds", "How long ago the oldest of them was created; 0: there is none.", "step")
        self.last_training = metrics.stored("training_timestamp_seconds", "When the latest training was accepted; 0: never.", "monitor")
        self.trainings_left = metrics.stored("trainings_left", "Trainings that `budget.training_jobs_per_day` leaves of the last 24 hours.")
        self.monitor_left = metrics.stored("monitor_trainings_left", "Trainings that `max_per_day` leaves of the last 24 hours.", "monitor")
        self.spent = metrics.stored(
            "spent_30_days", "Estimated cost of the last 30 days, and what the plans at work may cost yet.", "currency"
        )
        self.spend_left = metrics.stored(
            "spend_left", "What `budget.spend_per_month` leaves of that; no series where it is not set.", "currency"
        )
        self.model_at = metrics.stored("model_timestamp_seconds", "When the champion was promoted; 0: none of ours.", "monitor")
        self.model_score = metrics.stored(
            "model_score", "The champion's metric on held-out rows when it was promoted.", ("monitor", "metric")
        )

    def ended(self, step: str, seconds: float | None, cost: float) -> None:
        """Note how long a job took and what it cost, as far as AWS says."""
        if seconds is not None:
            self.job_time.labels(step).observe(seconds)
            self.cost.labels(step, self.currency).inc(cost)
