"""Drops whose messages were settled before they were read: their monitor had no baseline yet, or more drops than its share.

Nothing would come again after a crash, so they stay `pending` until they are counted or refused. A detector claims some of one
monitor at a time, then of the next. Its claim is an attempt (`attempts`): one that is no longer renewed was a death, and what it
held is read alone.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, Row, and_, func, or_, select

from driftsonde.core import tracing
from driftsonde.core.config import Config, Monitor
from driftsonde.core.drops import Drop, as_message
from driftsonde.core.errors import RetryableError, UnreadableObject
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.ingest import Ingest
from driftsonde.detector.intake import DeadLetter
from driftsonde.detector.ledger import PENDING
from driftsonde.detector.metrics import DetectorMetrics

log = get_logger(__name__)

CLAIM: Final = timedelta(seconds=30)  # after a crash, this long until another takes over
AGAIN: Final = timedelta(minutes=1)  # until what could not be read is tried again
_BATCH = 50
_SWEEP_SECONDS = 5.0
_QUIET_SECONDS = 0.25
_GIVE_WAY_SECONDS = 1.0


class _Claimed(NamedTuple):
    drop: Drop
    deaths: int
    trace: str | None = None


class Pending:
    """Looks now and then: another replica may have adopted the baseline, noted a drop, or died.

    Args:
        slots: drops that messages may have read at the same time; half as many are read here beside them.
        changed: called after each batch.
    """

    def __init__(
        self, database: Database, config: Config, ingest: Ingest, dead_letter: DeadLetter, metrics: DetectorMetrics, clock: Clock, *,
        slots: int, changed: Callable[[], None],
    ) -> None:  # fmt: skip
        self._database, self._config, self._ingest = database, config, ingest
        self._dead_letter, self._metrics, self._clock, self._changed = dead_letter, metrics, clock, changed
        self._gate = asyncio.Semaphore(max(1, slots // 2))
        self._stop, self._due, self._put_off = asyncio.Event(), asyncio.Event(), 0.0

    def wake(self) -> None:
        """Say that drops can be read: a baseline was adopted."""
        self._due.set()

    def put_off(self) -> None:
        """Say that a message's drop was left to be read in turn."""
        self._put_off = asyncio.get_running_loop().time()
        self._due.set()

    async def run(self, stop: asyncio.Event, health: Health) -> None:
        """Take what can be taken until `stop` is set: at once when something is due, else every few seconds."""
        self._stop = stop
        while not stop.is_set():
            health.beat("pending")
            self._due.clear()
            try:
                while await self.take(health) and not stop.is_set():
                    pass
            except RetryableError as exc:
                log.warning("cannot read pending drops now", error=str(exc))
            await wait_or_stop(stop, _SWEEP_SECONDS, self._due)

    async def take(self, health: Health | None = None) -> int:
        """Read a batch of each monitor that has a baseline; returns how many drops came to an end."""
        waiting = await self._database.look(_waiting)
        taken = 0
        for monitor in self._config.monitors:
            if monitor.name in waiting and not self._stop.is_set():
                taken += await self._batch(monitor, health)
                self._changed()
        return taken

    async def _batch(self, monitor: Monitor, health: Health | None) -> int:
        claimed = await self._database.run(self._claim, monitor.name)
        keep = asyncio.create_task(self._keep(claimed, health))
        failed: list[Drop] = [one.drop for one in claimed]

        async def one(drop: Drop, deaths: int, trace: str | None) -> None:
            async with self._gate:
                await self._messages_first()
                if self._stop.is_set():
                    return
                with tracing.span("pending drop", trace, monitor=monitor.name):
                    outcome = await self._one(monitor, drop, deaths)
            if outcome is not None:
                self._metrics.count(outcome)
                failed.remove(drop)

        try:
            await asyncio.gather(*(one(*item) for item in claimed))
        finally:
            keep.cancel()
            given_back = AGAIN if not self._stop.is_set() else timedelta(0)
            with contextlib.suppress(RetryableError):  # the claims end by themselves, and their drops are read alone
                await self._database.run(self._settle, [item.drop for item in claimed], failed, given_back)
        return len(claimed) - len(failed)

    async def _messages_first(self) -> None:
        """Wait while messages are being put off, but not for ever: behind them wait those of other monitors."""
        loop = asyncio.get_running_loop()
        longest = loop.time() + _GIVE_WAY_SECONDS
        while loop.time() < min(self._put_off + _QUIET_SECONDS, longest):
            await asyncio.sleep(_QUIET_SECONDS / 5)

    async def _one(self, monitor: Monitor, drop: Drop, deaths: int) -> str | None:
        """Read a drop; returns its outcome, or None if that has to be tried again."""
        try:
            return await self._ingest.drop(
                monitor, drop, deliveries=2 if deaths else 1,
                before_reject=lambda exc: self._dead_letter(as_message(drop), exc.reason, str(exc)),  # else a crash would lose it
            )  # fmt: skip
        except UnreadableObject as exc:
            return exc.reason
        except RetryableError as exc:
            log.warning("pending drop cannot be read now", drop=drop.uri, error=str(exc))
        except Exception:  # the only broad handler: an unknown error in one drop is tried again, and stops no other
            log.exception("unexpected error in a pending drop", drop=drop.uri)
        return None

    def _claim(self, connection: Connection, monitor: str) -> list[_Claimed]:
        """Claim some drops of a monitor, in the order of their events: out of it windows would be judged again and again."""
        self._database.lock(connection, f"pending:{monitor}")
        drops, tried, now = store.object_, store.attempt, self._clock.now()
        content = func.coalesce(func.nullif(drops.c.version, ""), func.nullif(drops.c.etag, ""), drops.c.sequencer, "")
        same = and_(tried.c.bucket == drops.c.bucket, tried.c.key == drops.c.key, tried.c.content == content)
        # A claim from the future is one of a clock that has gone back since.
        free = or_(tried.c.at.is_(None), tried.c.at <= now - CLAIM, tried.c.at > now + AGAIN)
        rows = connection.execute(
            select(drops, func.coalesce(tried.c.count, 0).label("deaths")).select_from(drops.outerjoin(tried, same))
            .where(drops.c.outcome.in_(PENDING), drops.c.monitor == monitor, free).order_by(drops.c.event_time).limit(_BATCH)
        ).all()  # fmt: skip
        claimed = [_Claimed(_drop(row), row.deaths, row.trace) for row in rows]
        for drop, deaths, _ in claimed:
            self._ingest.attempts.begin(connection, drop, deaths or 1)
        return claimed

    def _renew(self, connection: Connection, claimed: Sequence[_Claimed]) -> None:
        for drop, *_ in claimed:
            self._ingest.attempts.renew(connection, drop)

    def _settle(self, connection: Connection, claimed: Sequence[Drop], failed: Sequence[Drop], delay: timedelta) -> None:
        """End the claims; what could not be read is free again after a delay."""
        for drop in claimed:
            if drop in failed:
                self._ingest.attempts.begin(connection, drop, 0, delay=delay - CLAIM)
            else:
                self._ingest.attempts.end(connection, drop)

    async def _keep(self, claimed: Sequence[_Claimed], health: Health | None) -> None:
        while True:
            await asyncio.sleep(CLAIM.total_seconds() / 3)
            if health is not None:
                health.beat("pending")
            with contextlib.suppress(RetryableError):  # the next third is early enough
                await self._database.run(self._renew, claimed)


def _waiting(connection: Connection) -> set[str]:
    """Return the monitors that have a baseline and pending drops."""
    drops, baselines = store.object_, store.baseline
    ready = select(baselines.c.monitor).where(baselines.c.state == "adopted")
    return set(connection.scalars(select(drops.c.monitor).where(drops.c.outcome.in_(PENDING), drops.c.monitor.in_(ready)).distinct()))


def _drop(row: Row[Any]) -> Drop:
    return Drop("created", row.bucket, row.key, row.event_time, row.size, row.etag, row.version, row.sequencer)
