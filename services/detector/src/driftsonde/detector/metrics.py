"""Every metric of the detector."""

from __future__ import annotations

from driftsonde.core.aws.queue import QueueCounters
from driftsonde.core.errors import POISON_REASONS
from driftsonde.core.metrics import AGE_BUCKETS, Metrics

OUTCOMES = (
    "counted", "empty", "duplicate", "stale", "pending", "learned", "gone", "superseded", "removed", "retracted", "unmatched",
    "ignored", "test_event", "too_late", "retryable", "deferred", "bug", *POISON_REASONS,
)  # fmt: skip
LEFT_OUT = ("too_late", "invalid_time")
VERDICTS = ("ok", "warning", "drift", "insufficient", "untrusted")
EPISODES = ("drift", "untrusted")
STAGES = ("receive", "read", "sketch", "commit", "evaluate", "publish")
COLUMN = ("monitor", "column", "check")


class DetectorMetrics:
    """What happens in this process, and (`stored`) what is true of the store."""

    def __init__(self) -> None:
        metrics = Metrics("detector")
        self.registry, self.definitions, self.service = metrics.registry, metrics.definitions, metrics
        self._process(metrics)
        self._queues(metrics)
        self._store(metrics)

    def _process(self, metrics: Metrics) -> None:
        self.drops = metrics.counter("drops", "Drops by what became of them.", "outcome", OUTCOMES)
        self.rows = metrics.counter("rows", "Rows counted into sketches.")
        self.left_out = metrics.counter("rows_left_out", "Rows that were read and not counted.", "reason", LEFT_OUT)
        self.bytes = metrics.counter("bytes", "Bytes of the objects that were read.")
        self.unverified = metrics.counter(
            "unverified_drops", "Drops whose bytes could not be compared with a checksum: of S3, or of Parquet pages."
        )
        self.verdicts = metrics.counter("verdicts", "Windows judged, revisions included.", "verdict", VERDICTS)
        self.episodes = metrics.counter("episodes", "Episodes opened.", "kind", EPISODES)
        self.failures = metrics.counter("judge_failures", "Monitors that could not be judged for an unexpected reason.")
        self.damaged = metrics.counter("damaged_parts", "Stored parts that could not be read; their objects are read again.")
        self.in_flight = metrics.gauge("in_flight", "Messages being worked on.")
        self.stage = metrics.seconds(
            "stage",
            "Time spent by stage. receive: a poll that brought messages, its wait included. read: until S3 answered, and while counting stood "
            "still for bytes; what is fetched while counting goes on costs nothing here. sketch: decoding and counting. commit, evaluate: "
            "the transactions. publish: until the broker had stored an event.",
            "stage", STAGES,
        )  # fmt: skip
        self.latency = metrics.seconds("event_to_verdict", "From S3's event time to the verdict's commit.")
        self.stall = metrics.gauge(
            "loop_stall_seconds", "For how long the event loop did not come round at most, in the last five seconds."
        )
        self.outbox = metrics.outbox(self.stage.labels("publish"))

    def _queues(self, metrics: Metrics) -> None:
        self.queue = metrics.stored(
            "queue_messages", "About how many messages SQS says it has; no series while it does not answer.", ("queue", "state")
        )
        self.time_in_queue = metrics.seconds(
            "time_in_queue", "From being sent to being received; a message that comes again counts again.", buckets=AGE_BUCKETS
        )
        self.received_age = metrics.gauge(
            "last_received_age_seconds",
            "How long the oldest message of the latest poll had waited; 0 once a poll brought none. An approximation: SQS tells the age of "
            "its oldest message to CloudWatch only, and messages come in any order.",
        )
        self.held = metrics.gauge("leases_held", "Messages received and not yet settled.")
        self.oldest_lease = metrics.gauge("oldest_lease_age_seconds", "For how long the oldest of them has been held; 0: none is.")
        self.leases = QueueCounters(
            metrics.counter("leases_renewed", "Renewals of leases."),
            metrics.counter("leases_lost", "Leases that ended before their work did; the message comes again."),
            metrics.counter("dead_letters", "Messages put into the dead-letter queue, by reason.", "reason", POISON_REASONS),
        )

    def _store(self, metrics: Metrics) -> None:
        self.windows = metrics.stored(
            "recent_windows", "Of a monitor's latest 60 windows, how many have each verdict; none: not judged yet.", ("monitor", "verdict")
        )
        self.newest = metrics.stored(
            "newest_verdict", "1 for the verdict of a monitor's newest judged window, 0 for the others.", ("monitor", "verdict")
        )
        self.rows_judged = metrics.stored("newest_window_rows", "Rows of a monitor's newest judged window.", "monitor")
        self.judged_at = metrics.stored(
            "newest_window_judged_timestamp_seconds", "When a monitor's newest judged window was judged.", "monitor"
        )
        self.dirty = metrics.stored("dirty_windows", "Windows that have changed since they were judged.", "monitor")
        self.open = metrics.stored("open_episodes", "Open episodes.", ("monitor", "kind"))
        self.opened_at = metrics.stored(
            "episode_opened_timestamp_seconds", "When the newest episode began; 0: there was none.", ("monitor", "kind")
        )
        self.pending = metrics.stored("pending_drops", "Drops whose messages are settled and that wait to be read.", "monitor")
        self.rejected = metrics.stored(
            "rejected_drops", "Objects whose newest version could not be read: dead letters that still count.", "monitor"
        )
        self.last_drop = metrics.stored(
            "last_drop_timestamp_seconds",
            "S3's time of the newest drop; of a monitor that never had one, when its baseline was made.",
            "monitor",
        )
        self.interval = metrics.stored(
            "drop_interval_seconds", "Longest time between two of the latest 60 drops; no series before there are three.", "monitor"
        )
        self.baseline_at = metrics.stored("baseline_timestamp_seconds", "When the baseline in force was made.", "monitor")
        self.score = metrics.stored("score", "Score of the newest judged window, by column: the check that says most of it.", COLUMN)
        self.threshold = metrics.stored("threshold", "From which score that check alarms: c of the rule.", COLUMN)
        self.values = metrics.stored("score_values", "Values that the score is based on: n.", COLUMN)
        self.severity = metrics.stored(
            "worst_score_ratio", "Largest score of the newest judged window, divided by its threshold.", "monitor"
        )
        self.drifted = metrics.stored("drifted_columns", "Columns of the newest judged window that alarm.", "monitor")
        self.hidden = metrics.stored(
            "columns_left_out",
            "Columns of the newest judged windows without a series. rank: beyond the first DRIFTSONDE_METRICS_FEATURES and quiet; "
            "cap: beyond the hard cap over all monitors.",
            "reason",
        )  # fmt: skip

    def count(self, outcome: str) -> None:
        """Count what became of a drop."""
        self.drops.labels(outcome).inc()
