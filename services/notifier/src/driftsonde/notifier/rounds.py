"""What is due without an event: silences that ended, reminders of open episodes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Final

from driftsonde.core.config import ChannelConfig, Config
from driftsonde.core.errors import RetryableError
from driftsonde.core.events import Fact
from driftsonde.core.lifecycle import Health
from driftsonde.core.log import get_logger
from driftsonde.core.store.engine import Database
from driftsonde.notifier.grouping import channels_for
from driftsonde.notifier.metrics import NotifierMetrics
from driftsonde.notifier.reminders import Reminders
from driftsonde.notifier.silences import Silences

log = get_logger(__name__)

EVERY_SECONDS: Final = 5.0


class Rounds:
    """Looks after silences and reminders; any replica may, and none does it twice.

    Args:
        queued: called with the channels that have something new to send.
    """

    def __init__(
        self, config: Config, database: Database, silences: Silences, reminders: Reminders, health: Health, metrics: NotifierMetrics,
        queued: Callable[[Collection[str]], None],
    ) -> None:  # fmt: skip
        self._config, self._database, self._silences, self._reminders = config, database, silences, reminders
        self._health, self._metrics, self._queued = health, metrics, queued

    async def __call__(self) -> None:
        """Go round once; a database that is away is tried again the next time."""
        self._health.beat("rounds")
        try:
            self._metrics.silences.set(len(await self._database.look(self._silences.active)))
            self._queued(await self._database.run(self._silences.release, tuple(self._config.channels)))
            for name, channel in self._config.channels.items():
                await self._remind(name, channel)
        except RetryableError as exc:
            log.warning("silences and reminders wait for the database", error=str(exc))

    async def _remind(self, name: str, channel: ChannelConfig) -> None:
        if channel.remind is None:
            return
        count = await self._database.run(self._reminders.queue_due, name, channel.remind, partial(self._is_told, name))
        if count:
            self._metrics.reminders.labels(name).inc(count)
            self._queued((name,))

    def _is_told(self, channel: str, fact: Fact) -> bool:
        return channel in channels_for(self._config, fact)
