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
        self.registry = metrics.registry
        self.events = metrics.counter("events", "Events received, by what became of them.", "outcome", EVENT_OUTCOMES)
        tries = "Tries to deliver a message, by outcome; an error is a retry too."
        self.tries = metrics.counter("delivery_tries", tries, "outcome", TRY_OUTCOMES)
        self.send_time = metrics.seconds("send", "Time of one try, by channel.", "channel", channels)
        self.pending = metrics.gauge("pending_deliveries", "Messages that wait to be delivered.", ("channel",))
        self.held = metrics.gauge("held_deliveries", "Messages that wait for the end of quiet hours.", ("channel",))
        self.oldest = metrics.gauge("oldest_delivery_age_seconds", "Age of the message that waits longest.", ("channel",))
        self.refused = metrics.gauge("channel_refused", "1 while the channel's last answer was a permanent refusal.", ("channel",))
        self.published = metrics.counter("published_events", "Events published on the bus.")
        self.outbox = metrics.gauge("outbox_events", "Events that wait for the bus.")
        self.outbox_age = metrics.gauge("outbox_age_seconds", "For how long the oldest event waits to be published.")
        self.silenced = metrics.counter("silenced_messages", "Messages that a silence kept back.", "channel", channels)
        self.reminders = metrics.counter("reminders", "Reminders of open episodes that were queued.", "channel", channels)
        self.silences = metrics.gauge("active_silences", "Silences that are not over.")
        for channel in channels:
            for gauge in (self.pending, self.held, self.oldest, self.refused):
                gauge.labels(channel)
