"""What one drop adds to which windows: reading and counting, in a worker thread, without any state."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.config import Monitor, TimeWindow
from driftsonde.core.counting import Checkpoint, count_by_time, count_object
from driftsonde.core.drops import Drop
from driftsonde.core.errors import UnreadableObject
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.window import (
    MAX_FUTURE,
    MAX_WINDOWS_PER_DROP,
    NO_TIME,
    capped,
    from_micros,
    start_of,
    starts,
    time_window_id,
)
from driftsonde.core.ports import ObjectInfo, ObjectStore
from driftsonde.core.readers import Limits, StoreSource
from driftsonde.core.sketch.table import TableSketch

_MICRO = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Measured:
    """A drop, counted.

    Args:
        windows: the sketch that it adds to each window, by window id.
        version: the baseline version that the sketches are over, unless `versions` says otherwise for a window.
        rows: rows of the drop that were counted.
        latest: latest event time seen, capped at now; None where windows are not by time.
        invalid_time: rows whose time could not be used.
        verified: whether the bytes were compared with a checksum.
        waited: seconds in which nothing was counted, for bytes were waited for.
    """

    windows: Mapping[str, TableSketch]
    version: int
    rows: int
    latest: datetime | None = None
    invalid_time: int = 0
    versions: Mapping[str, int] = field(default_factory=dict)
    verified: bool = True
    waited: float = 0.0

    def version_of(self, window: str) -> int:
        """Return the baseline version that a window's sketch is over."""
        return self.versions.get(window, self.version)

    def only(self, windows: Mapping[str, TableSketch]) -> Measured:
        """Keep some of the windows."""
        return replace(self, windows=dict(windows), versions=dict.fromkeys(windows, self.version))

    def plus(self, windows: Mapping[str, TableSketch], version: int) -> Measured:
        """Add windows that were counted over another baseline version."""
        return replace(self, windows={**self.windows, **windows}, versions={**self.versions, **dict.fromkeys(windows, version)})

    def after(self, waited: float) -> Measured:
        """Add what was waited for bytes of another count of the same drop."""
        return replace(self, waited=self.waited + waited)


def whole_window(monitor: Monitor, drop: Drop) -> str:
    """Return the window that a drop as a whole belongs to: by its event time, or its own (a rows window is named at commit)."""
    if isinstance(monitor.window, TimeWindow):
        return time_window_id(start_of(drop.event_time, monitor.window.size))
    return drop.uri


async def measure(
    objects: ObjectStore, loop: asyncio.AbstractEventLoop, monitor: Monitor, drop: Drop, info: ObjectInfo, first: bytes,
    baseline: FrozenBaseline, version: int, now: datetime, limits: Limits, checkpoint: Checkpoint | None,
) -> Measured:  # fmt: skip
    """Read a drop and count it over a baseline's bins.

    Raises:
        UnreadableObject, GoneError, RetryableError: as the reader and the object store.
    """
    if not info.size:  # nothing is there to be damaged: an empty drop, as one with a header and no rows
        empty = {} if isinstance(monitor.window, TimeWindow) else {whole_window(monitor, drop): baseline.empty_sketch()}
        return Measured(empty, version, 0)
    etag = None if drop.version else info.etag
    source = StoreSource(objects, loop, drop.bucket, drop.key, info.size, version=drop.version, etag=etag, first=first, md5=info.md5)
    if isinstance(monitor.window, TimeWindow):
        measured = await asyncio.to_thread(_by_time, monitor, monitor.window, source, baseline, version, now, limits, checkpoint)
    else:
        sketch = await asyncio.to_thread(count_object, baseline, source, form=monitor.format, limits=limits, checkpoint=checkpoint)
        measured = Measured({whole_window(monitor, drop): sketch}, version, sketch.rows)
    measured = replace(measured, verified=source.verified, waited=source.waited)
    bad = sum(sketch.bad_rows for sketch in measured.windows.values())
    total = measured.rows + measured.invalid_time + bad
    if bad and bad / total > monitor.policy.bad_rows:
        raise UnreadableObject(f"{drop.uri}: {bad} of {total} rows cannot be parsed", reason="bad_rows")
    return measured


def _by_time(
    monitor: Monitor, window: TimeWindow, source: StoreSource, baseline: FrozenBaseline, version: int, now: datetime, limits: Limits,
    checkpoint: Checkpoint | None,
) -> Measured:  # fmt: skip
    latest_allowed = (now + MAX_FUTURE - _EPOCH) // _MICRO
    seen: set[int] = set()

    def split(times: NDArray[np.int64]) -> NDArray[np.int64]:
        times = np.where((times < 0) | (times > latest_allowed), NO_TIME, times)
        index = starts(times, window.size)
        for start in np.unique(index[index >= 0]).tolist():
            if len(seen) < MAX_WINDOWS_PER_DROP:
                seen.add(start)
        return np.where(np.isin(index, list(seen)), index, NO_TIME)

    counted, latest, invalid = count_by_time(
        baseline, source, window.column, split, form=monitor.format, limits=limits, checkpoint=checkpoint
    )
    rows = sum(sketch.rows for sketch in counted.values())
    if invalid and not rows:
        raise UnreadableObject(f"{source.name}: no row has a usable time in column {window.column!r}", reason="bad_rows")
    return Measured(
        {time_window_id(from_micros(start)): sketch for start, sketch in counted.items()},
        version, rows, capped(from_micros(latest), now) if latest >= 0 else None, invalid,
    )  # fmt: skip
