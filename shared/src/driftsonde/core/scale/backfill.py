"""Windows of objects that were there before their monitor, counted by many workers; judged afterwards, in order, by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.config import ObjectWindow, RowsWindow, TimeWindow
from driftsonde.core.config.monitors import Window
from driftsonde.core.counting import count_by_time, count_object
from driftsonde.core.errors import DriftsondeError, UnreadableObject
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.window import MAX_FUTURE, NO_TIME, from_micros, starts, time_window_id
from driftsonde.core.places import Found, Places
from driftsonde.core.readers import Format
from driftsonde.core.scale.runs import RUNS_PER_SLOT, Engine, Run, cut, framed, unframed
from driftsonde.core.sketch.codec import decode_table, encode_table
from driftsonde.core.sketch.table import TableSketch

MOST_WINDOWS = 10_000
"""Time windows that a run may have rows of; more is a window's length that was not meant, or a column that is no time."""


@dataclass(frozen=True)
class Counted:
    """What was counted.

    Args:
        windows: in order, each with its name.
        unreadable: what is wrong with each object that could not be read, by address.
        invalid_times: rows that are in no window, for their time could not be used.
    """

    windows: Sequence[tuple[str, TableSketch]]
    unreadable: dict[str, str]
    invalid_times: int = 0


def count_on(
    engine: Engine, objects: Sequence[Found], baseline: FrozenBaseline, window: Window, now: datetime, *,
    form: Format = "auto", runs: int | None = None,
) -> Counted:  # fmt: skip
    """Count objects into their windows, in one pass.

    Windows by object or by rows follow the objects' order. An object that cannot be read is a window of its own then, or makes the
    window that it falls into untrusted; with windows by time it is left out, for nobody knows where its rows belong.

    Args:
        now: rows from more than a day later are in no window, as with the detector.
        runs: how many runs the objects are cut into at most; default: a few for each of the engine's slots.

    Raises:
        DriftsondeError: if there are far too many time windows.
    """
    pieces = cut(objects, runs or RUNS_PER_SLOT * engine.slots)
    if isinstance(window, TimeWindow):
        return _by_time(engine.map(partial(_count_times, baseline.data, window, now, form), pieces), baseline)
    found: list[tuple[str, TableSketch]] = []
    unreadable: dict[str, str] = {}
    for run, data in zip(pieces, engine.map(partial(_count_objects, baseline.data, form), pieces), strict=True):
        head, parts = unframed(data)
        unreadable |= _texts(head)
        found += ((item.address, decode_table(part, baseline.layout)) for item, part in zip(run.objects, parts, strict=True))
    return Counted(found if isinstance(window, ObjectWindow) else list(_gathered(found, window)), unreadable)


def _gathered(objects: Sequence[tuple[str, TableSketch]], window: RowsWindow) -> Iterator[tuple[str, TableSketch]]:
    """Gather objects until a window has its rows; what is left at the end is no window yet."""
    gathered: TableSketch | None = None
    name = ""
    for address, sketch in objects:
        name, gathered = (name, gathered + sketch) if gathered is not None else (address, sketch)
        if gathered.rows >= window.size:
            yield name, gathered
            gathered = None


def _by_time(results: Sequence[bytes], baseline: FrozenBaseline) -> Counted:
    windows: dict[int, TableSketch] = {}
    unreadable: dict[str, str] = {}
    invalid = 0
    for data in results:
        head, parts = unframed(data)
        unreadable |= _texts(head)
        invalid += int(str(head["invalid"]))
        begun = head["starts"]
        assert isinstance(begun, list)  # `_count_times` wrote it
        for start, part in zip(begun, parts, strict=True):
            _add(windows, start, decode_table(part, baseline.layout))
    named = [(time_window_id(from_micros(start)), windows[start]) for start in sorted(windows)]
    return Counted(named, unreadable, invalid)


def _count_objects(baseline_data: bytes, form: Format, run: Run, places: Places) -> bytes:
    baseline, unreadable, parts = FrozenBaseline.from_bytes(baseline_data), dict[str, str](), []
    for found in run.objects:
        try:
            sketch = count_object(baseline, places.source(found), form=form)
        except UnreadableObject as exc:
            unreadable[found.address], sketch = str(exc), baseline.empty_sketch()
            sketch.unreadable = 1
        parts.append(encode_table(sketch))
    return framed({"unreadable": unreadable}, parts)


def _count_times(baseline_data: bytes, window: TimeWindow, now: datetime, form: Format, run: Run, places: Places) -> bytes:
    baseline, unreadable = FrozenBaseline.from_bytes(baseline_data), dict[str, str]()
    windows: dict[int, TableSketch] = {}
    invalid, split = 0, _splitter(window, now)
    for found in run.objects:
        try:
            counted, _, unusable = count_by_time(baseline, places.source(found), window.column, split, form=form)
        except UnreadableObject as exc:
            unreadable[found.address] = str(exc)
            continue
        invalid += unusable
        for start, sketch in counted.items():
            _add(windows, start, sketch)
        if len(windows) > MOST_WINDOWS:
            raise DriftsondeError(
                f"{found.address}: more than {MOST_WINDOWS:,} windows by {window.column!r}; is it a time, and {window.size} what was meant?"
            )
    begun = sorted(windows)
    return framed({"unreadable": unreadable, "invalid": invalid, "starts": begun}, [encode_table(windows[start]) for start in begun])


def _splitter(window: TimeWindow, now: datetime) -> Callable[[NDArray[np.int64]], NDArray[np.int64]]:
    latest = int((now + MAX_FUTURE - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()) * 1_000_000

    def split(times: NDArray[np.int64]) -> NDArray[np.int64]:
        index = starts(np.where((times < 0) | (times > latest), NO_TIME, times), window.size)
        if len(np.unique(index)) > MOST_WINDOWS:  # before each of them is made
            raise DriftsondeError(
                f"more than {MOST_WINDOWS:,} windows by {window.column!r}; is it a time, and {window.size} what was meant?"
            )
        return index

    return split


def _add(windows: dict[int, TableSketch], start: int, sketch: TableSketch) -> None:
    windows[start] = windows[start] + sketch if start in windows else sketch


def _texts(head: dict[str, Any]) -> dict[str, str]:
    found: dict[str, str] = head["unreadable"]
    return found
