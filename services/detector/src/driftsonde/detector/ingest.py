"""One drop: what it is to what is known, read and counted if it is new, committed in one transaction."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from sqlalchemy import Connection, Row

from driftsonde.core import tracing
from driftsonde.core.config import Monitor, TimeWindow
from driftsonde.core.drops import Drop
from driftsonde.core.errors import GoneError, RetryableError, UnreadableObject
from driftsonde.core.events import DropRejected
from driftsonde.core.ports import Clock, ObjectInfo, ObjectStore
from driftsonde.core.readers import Limits
from driftsonde.core.store.engine import Database
from driftsonde.detector import store
from driftsonde.detector.attempts import Attempts
from driftsonde.detector.baselines import Baselines
from driftsonde.detector.checkpoints import FROM_BYTES, StoredCheckpoint, forget
from driftsonde.detector.committer import Committer
from driftsonde.detector.ledger import Committed, Ledger, object_row, order_of, standing
from driftsonde.detector.measure import Measured, measure, whole_window
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.windows import WrongBaseline

_LARGE = 8 * 1024 * 1024  # bytes; such objects are read one at a time, so that memory does not grow with the slots
_RETRIES = 5

BeforeReject = Callable[[UnreadableObject], Awaitable[None]]


class Ingest:
    """Reads drops and commits their parts."""

    def __init__(
        self, database: Database, ledger: Ledger, objects: ObjectStore, baselines: Baselines, attempts: Attempts,
        metrics: DetectorMetrics, clock: Clock, limits: Limits,
    ) -> None:  # fmt: skip
        self._database, self._ledger, self._objects = database, ledger, objects
        self._baselines, self._metrics, self._clock, self._limits = baselines, metrics, clock, limits
        self._committer, self.attempts = Committer(database), attempts
        self._large = asyncio.Semaphore(1)

    async def drop(
        self, monitor: Monitor, drop: Drop, *, deliveries: int = 1, later: bool = False, before_reject: BeforeReject | None = None
    ) -> str:
        """Take one drop for one monitor; returns its outcome.

        Args:
            deliveries: how often its message came, this time included.
            later: remember it as `pending` instead of reading it.
            before_reject: called with the reason before a rejection is committed, where no message would come again after a crash.

        Raises:
            UnreadableObject: after the rejection is committed; the message belongs in the dead letters.
            RetryableError: when something that is needed is away.
        """
        known, current = await self._database.look(_known, monitor.name, drop)
        if drop.kind == "removed":
            return await self._remove(monitor, drop, known)
        if known is not None and (found := await self._standing(known, drop)):
            return await self._database.run(self._ledger.note_stale, monitor, drop, found)
        versions: dict[str, int] = {}
        for _ in range(_RETRIES):
            if current is None or later:
                return await self._committer.run(self._ledger.note_pending, monitor, drop)
            try:
                async with self.attempts.reading(drop, deliveries):
                    return await self._take(monitor, drop, current, versions)
            except WrongBaseline as exc:
                versions.update(exc.versions)
            except UnreadableObject as exc:
                if before_reject is not None:
                    await before_reject(exc)
                try:
                    return await self._reject(monitor, drop, current, versions, exc)
                except WrongBaseline as wrong:
                    versions.update(wrong.versions)
            current = await self._database.look(store.current_baseline, monitor.name)
        raise RetryableError(f"{drop.uri}: the baseline changed {_RETRIES} times while it was read")

    async def _take(self, monitor: Monitor, drop: Drop, current: int, versions: Mapping[str, int]) -> str:
        try:
            began = time.monotonic()
            info, first = await self._objects.open(drop.bucket, drop.key, version=drop.version, etag=drop.etag)
            opened = time.monotonic() - began
            async with self._large if info.size >= _LARGE else contextlib.nullcontext():
                began = time.monotonic()
                measured = await self._measure(monitor, drop, info, first, current, versions)
                counted = time.monotonic() - began - measured.waited
            self._metrics.stage.labels("read").observe(opened + measured.waited, tracing.exemplar())
            self._metrics.stage.labels("sketch").observe(max(0.0, counted), tracing.exemplar())
        except GoneError as exc:
            return await self._database.run(self._ledger.note_gone, monitor, drop, exc.reason)
        began = time.monotonic()
        with tracing.span("commit"):
            try:
                committed = await self._committer.run(self._ledger.commit, monitor, drop, measured)
            finally:
                self._metrics.stage.labels("commit").observe(time.monotonic() - began, tracing.exemplar())
        if info.size >= FROM_BYTES:
            await self._database.run(forget, monitor.name, drop)
        self._count(info, measured, committed)
        return committed.outcome

    def _count(self, info: ObjectInfo, measured: Measured, committed: Committed) -> None:
        if committed.outcome in ("duplicate", "stale"):
            return
        self._metrics.bytes.inc(info.size)
        self._metrics.unverified.inc(not measured.verified)
        self._metrics.rows.inc(measured.rows - committed.too_late)
        self._metrics.left_out.labels("too_late").inc(committed.too_late)
        self._metrics.left_out.labels("invalid_time").inc(measured.invalid_time)

    async def _measure(
        self, monitor: Monitor, drop: Drop, info: ObjectInfo, first: bytes, current: int, versions: Mapping[str, int]
    ) -> Measured:
        """Count a drop; once for each baseline version that its windows have."""
        # Only by time can the windows of one drop differ in version, and a window not yet known about is a new one.
        needed = {current, *versions.values()} if isinstance(monitor.window, TimeWindow) else {versions.get(drop.uri, current)}
        total: Measured | None = None
        for version in sorted(needed):
            baseline = await self._baselines.get(monitor.name, version)
            checkpoint = None
            if info.size >= FROM_BYTES:
                checkpoint = StoredCheckpoint(self._database, self._clock, monitor, drop, info, version)
            measured = await measure(
                self._objects, asyncio.get_running_loop(), monitor, drop, info, first, baseline, version, self._clock.now(), self._limits,
                checkpoint,
            )  # fmt: skip
            kept = {window: sketch for window, sketch in measured.windows.items() if versions.get(window, current) == version}
            total = measured.only(kept) if total is None else total.plus(kept, version).after(measured.waited)
        assert total is not None
        return total

    async def _reject(self, monitor: Monitor, drop: Drop, current: int, versions: Mapping[str, int], exc: UnreadableObject) -> str:
        """Commit that a drop is unreadable: its window is untrusted, and an event says so.

        Raises:
            UnreadableObject: `exc`, unless another replica knew better.
        """
        window = whole_window(monitor, drop)
        version = versions.get(window, current)
        sketch = (await self._baselines.get(monitor.name, version)).empty_sketch()
        sketch.unreadable = 1
        fact = DropRejected(monitor=monitor.name, drop=drop.ref(), reason=exc.reason, message=str(exc)[:500])
        measured = Measured({window: sketch}, version, 0)
        committed = await self._committer.run(self._ledger.commit, monitor, drop, measured, exc.reason, (fact,))
        if committed.outcome == exc.reason:
            raise exc
        return committed.outcome

    async def _standing(self, row: Row[Any], drop: Drop) -> str | None:
        """Return `duplicate` or `stale` for an event that adds nothing to what is known, else None."""
        if order_of(row, drop) is not None:
            return standing(row, drop)
        # Neither sequencers nor times order the two: what is in the bucket now decides.
        try:
            info = await self._objects.head(drop.bucket, drop.key)
        except GoneError:
            return "stale"
        here = info.version == drop.version if drop.version else info.etag == drop.etag
        return None if here else "stale"

    async def _remove(self, monitor: Monitor, drop: Drop, known: Row[Any] | None) -> str:
        if monitor.on_remove == "ignore":
            return "removed"
        unclear = known is not None and (order_of(known, drop) is None or (drop.version and drop.version != known.version))
        if known is not None and unclear and await self._is_there(known, drop):
            return "stale"  # an old version was deleted, or the object came back
        return await self._database.run(self._ledger.retract, monitor, drop)

    async def _is_there(self, row: Row[Any], drop: Drop) -> bool:
        try:
            info = await self._objects.head(drop.bucket, drop.key)
        except GoneError:
            return False
        return bool(info.version == row.version if row.version else info.etag == row.etag)


def _known(connection: Connection, monitor: str, drop: Drop) -> tuple[Row[Any] | None, int | None]:
    """Return what is known of a drop's object, and the baseline version in force."""
    return object_row(connection, monitor, drop), store.current_baseline(connection, monitor)
