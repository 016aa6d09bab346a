"""What happens when an event arrives: it is noted once and queued for each channel of its monitor."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from driftsonde.core.config import Config
from driftsonde.core.events import DriftResolved, Event
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Bus, Outcome
from driftsonde.notifier.grouping import TOLD_TYPES, Recorded, channels_for
from driftsonde.notifier.metrics import NotifierMetrics

log = get_logger(__name__)

Record = Callable[[Event, Sequence[str]], Awaitable[Recorded]]
"""Notes an event and its deliveries in one transaction: `queued`, `silenced`, `duplicate`, `stale` or `folded`."""


class Handlers:
    """The notifier's side of the bus.

    Args:
        config: says which monitor tells which channels.
        record: stores the event and its deliveries.
        queued: called with the channels that have something new to send.
        metrics: counts outcomes.
    """

    def __init__(self, config: Config, record: Record, queued: Callable[[Sequence[str]], None], metrics: NotifierMetrics) -> None:
        self._config, self._record, self._queued, self._metrics = config, record, queued, metrics

    def register(self, bus: Bus) -> None:
        """Subscribe to every type that people are told about."""
        bus.subscribe("notifier", TOLD_TYPES, self.handle)

    async def handle(self, event: Event) -> Outcome:
        """Queue one event; nothing is sent here, so a slow channel never holds the bus up."""
        channels = channels_for(self._config, event.data)
        recorded = Recorded("unrouted")
        # Not noted when nobody is told: after a change of configuration the hourly repeat of an open episode is told then.
        # The end of an episode is noted all the same, or it would be reminded of for ever.
        if channels or isinstance(event.data, DriftResolved):
            recorded = await self._record(event, channels)
        outcome = recorded.outcome if channels else "unrouted"
        if recorded.queued:
            self._queued(recorded.queued)
        for channel in recorded.silenced:
            self._metrics.silenced.labels(channel).inc()
        self._metrics.events.labels(outcome).inc()
        log.info("event handled", outcome=outcome, type=event.type, monitor=event.subject, episode=event.data.episode, event_id=event.id)
        return outcome
