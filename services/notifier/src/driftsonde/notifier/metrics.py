"""Every metric of the notifier, under `driftsonde_notifier_`."""

from __future__ import annotations

from collections.abc import Iterable

from driftsonde.core.metrics import Metrics

EVENT_OUTCOMES = ("queued", "duplicate", "stale", "folded", "silenced", "unrouted")
TRY_OUTCOMES = ("delivered", "retry", "refused", "expired", "error")


class NotifierMetrics:
    """The series, made once per process.

    Args:
        channels: the configured channels' names, so that each has its series from the start.
    """

    def __init__(self, channels: Iterable[str]) -> None:
        metrics = Metrics("notifier")
        self.registry, self.definitions, self.service = metrics.registry, metrics.definitions, metrics
        names = tuple(channels)
        self.events = metrics.counter("events", "Events received, by what became of them.", "outcome", EVENT_OUTCOMES)
        self.tries = metrics.counter(
            "delivery_tries",
            "Tries to deliver a message. delivered, refused (for good) and expired end a delivery; retry does not, and an error is a retry too.",
            ("channel", "outcome"), [(name, outcome) for name in names for outcome in TRY_OUTCOMES],
        )  # fmt: skip
        self.send_time = metrics.seconds("send", "Time of one try, by channel.", "channel", names)
        self.pending = metrics.gauge("pending_deliveries", "Messages that wait to be delivered.", ("channel",))
        self.held = metrics.gauge("held_deliveries", "Messages that wait for the end of quiet hours.", ("channel",))
        self.oldest = metrics.gauge("oldest_delivery_age_seconds", "Age of the message that waits longest.", ("channel",))
        self.refused = metrics.gauge("channel_refused", "1 while the channel's last answer was a permanent refusal.", ("channel",))
        self.outbox = metrics.outbox()
        self.silenced = metrics.counter("silenced_messages", "Messages that a silence kept back.", "channel", names)
        self.reminders = metrics.counter("reminders", "Reminders of open episodes that were queued.", "channel", names)
        self.silences = metrics.gauge("active_silences", "Silences that are not over.")
        for channel in names:
            for gauge in (self.pending, self.held, self.oldest, self.refused):
                gauge.labels(channel)
