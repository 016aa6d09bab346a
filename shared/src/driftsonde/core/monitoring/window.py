"""Which window a row or a drop belongs to, and in which order windows are judged."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

NO_TIME: Final = -(1 << 63)
"""Stands for "no time" among microseconds."""

MAX_WINDOWS_PER_DROP: Final = 100
MAX_FUTURE: Final = timedelta(days=1)


def starts(times: NDArray[np.int64], length: timedelta) -> NDArray[np.int64]:
    """Return the start of each time's window, in microseconds since 1970 UTC; windows are aligned to 1970.

    Args:
        times: shape (n,), microseconds; `NO_TIME` stays.
        length: of a window.
    """
    step = length // timedelta(microseconds=1)
    return np.where(times == NO_TIME, NO_TIME, times // step * step)


def start_of(when: datetime, length: timedelta) -> datetime:
    """Return the start of the window that `when` lies in."""
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return epoch + (when - epoch) // length * length


def from_micros(micros: int) -> datetime:
    """Return microseconds since 1970 as an aware time."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(micros))


def time_window_id(start: datetime) -> str:
    """Return a time window's identifier, which sorts as its time does."""
    return start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def object_order(event_time: datetime, bucket: str, key: str) -> str:
    """Return what object windows are ordered by: first seen S3 event time, bucket, key."""
    return f"{event_time.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S.%fZ')}\x1f{bucket}\x1f{key}"


def is_closed(end: datetime, watermark: datetime | None, last_drop: datetime | None, now: datetime, *, idle: timedelta) -> bool:
    """Say whether a time window can be judged: the data has moved past its end, or nothing came for `idle`."""
    return (watermark is not None and watermark >= end) or (last_drop is not None and now - last_drop >= idle)


def is_final(end: datetime, watermark: datetime | None, *, lateness: timedelta) -> bool:
    """Say whether later rows come too late for a time window."""
    return watermark is not None and watermark >= end + lateness


def capped(watermark: datetime, now: datetime) -> datetime:
    """Return the watermark, but never later than now: one row from the future must not close every window."""
    return min(watermark, now)
