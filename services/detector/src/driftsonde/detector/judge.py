"""The loop that evaluates monitors: when something changed, and now and then because time passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from driftsonde.core import tracing
from driftsonde.core.config import Config, Monitor
from driftsonde.core.errors import RetryableError
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.evaluate import Evaluate, Evaluated
from driftsonde.detector.judging import DamagedPart
from driftsonde.detector.ledger import Ledger
from driftsonde.detector.metrics import DetectorMetrics

log = get_logger(__name__)

_SWEEP_SECONDS = 1.0
_REST = 1  # times what a sweep took: while drops come faster than that, windows that belong together are judged once
_LONGEST_REST = 5.0


class Judge:
    """Runs the evaluate transaction of every monitor that has something to judge."""

    def __init__(
        self, database: Database, evaluate: Evaluate, ledger: Ledger, config: Config, metrics: DetectorMetrics, clock: Clock
    ) -> None:
        self._database, self._evaluate, self._ledger, self._config = database, evaluate, ledger, config
        self._metrics, self._clock = metrics, clock

    async def run(self, stop: asyncio.Event, changed: asyncio.Event, wake: Callable[[], None], health: Health) -> None:
        """Sweep at each change and every second until `stop` is set, and once more after it."""
        while True:
            health.beat("judge")
            changed.clear()
            last = stop.is_set()
            began = time.monotonic()
            await self.sweep()
            wake()
            if last:
                return
            await wait_or_stop(stop, min(_REST * (time.monotonic() - began), _LONGEST_REST))
            await wait_or_stop(stop, _SWEEP_SECONDS, changed)

    async def sweep(self) -> None:
        """Judge what can be judged now; a monitor that cannot be judged does not keep the others waiting."""
        try:
            waiting = await self._database.look(store.dirty_monitors)
        except RetryableError as exc:
            log.warning("cannot look for windows to judge", error=str(exc))
            return
        for monitor in self._config.monitors:
            if monitor.name not in waiting:
                continue
            try:
                await self._one(monitor)
            except RetryableError as exc:
                log.warning("cannot judge now", monitor=monitor.name, error=str(exc))
            except DamagedPart as exc:
                await self._read_again(monitor, exc)
            except Exception:  # the only broad handler of this loop: a part that cannot be read stops one monitor, not all
                log.exception("monitor cannot be judged", monitor=monitor.name)
                self._metrics.failures.inc()

    async def _read_again(self, monitor: Monitor, damaged: DamagedPart) -> None:
        log.error("stored part cannot be read; what it was counted from is read again", monitor=monitor.name, part=str(damaged))
        self._metrics.damaged.inc()
        try:
            await self._database.run(self._ledger.read_again, monitor, damaged)
        except RetryableError as exc:
            log.warning("cannot judge now", monitor=monitor.name, error=str(exc))

    async def _one(self, monitor: Monitor) -> None:
        began, done = time.monotonic(), Evaluated()
        try:
            done = await self._database.run(self._evaluate, monitor)
        finally:
            took = time.monotonic() - began
            self._metrics.stage.labels("evaluate").observe(took, tracing.exemplar(done.traces[-1]) if done.traces else None)
        for judged in done.traces:
            tracing.record("evaluate", judged, took, monitor=monitor.name)
        for word in done.verdicts:
            self._metrics.verdicts.labels(word).inc()
        for kind in done.opened:
            self._metrics.episodes.labels(kind).inc()
            log.info("episode opened", monitor=monitor.name, kind=kind)
        now = self._clock.now()
        for first, trace in done.first_drops:
            self._metrics.latency.observe(max(0.0, (now - first).total_seconds()), tracing.exemplar(trace) if trace else None)
