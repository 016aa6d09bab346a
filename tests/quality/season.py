"""Days have nights, and hours resemble the hour before: what no test of independent rows survives, and the back-test does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from driftsonde.core.api import Baseline

from .data import Floats, Matrix, draw_table, levels_of, table, to_batch
from .quiet import Counts
from .report import Goal, Section, Table, rate
from .rules import PEERS, TableRules
from .tasks import Task
from .watch import OURS, Watch

_COLUMNS = 50
_ROWS = 1_000
_DAY = 24
_BASELINE_DAYS = 28
_SEASON = 0.3
_AUTOREGRESSION, _SPREAD = 0.8, 0.1
_SHIFT = 0.5
_STEP = 48
BARE = f"{OURS}, not back-tested"
TESTED = f"{OURS}, back-tested"
_RULES = (*PEERS, BARE, TESTED)


def tasks(quick: bool) -> Iterator[Task]:
    """Yield one task for each baseline."""
    return (Task(_monitor, (monitor, 2 if quick else 30), 200 + 100 * (not quick)) for monitor in range(1 if quick else 4))


def shifts(random: np.random.Generator, hours: int) -> Floats:
    """Return how far each hour moves each column's mean: a daily season on every fifth column, AR(1) noise on all."""
    noise = np.empty((hours, _COLUMNS))
    noise[0] = random.normal(0, _SPREAD, _COLUMNS)
    for hour in range(1, hours):
        step = random.normal(0, _SPREAD * np.sqrt(1 - _AUTOREGRESSION**2), _COLUMNS)
        noise[hour] = _AUTOREGRESSION * noise[hour - 1] + step
    phase = random.uniform(0, 2 * np.pi, _COLUMNS)
    season = _SEASON * np.sin(2 * np.pi * np.arange(hours)[:, None] / _DAY + phase)
    noise[:, ::5] += season[:, ::5]
    return noise


def _monitor(monitor: int, days: int) -> tuple[Counts, int | None]:
    """Watch one table; return counts, and after how many hours a shift of half a standard deviation alarms (back-tested)."""
    columns = table(_COLUMNS)
    random = np.random.default_rng([8, monitor])
    start, hours = _BASELINE_DAYS * _DAY, (_BASELINE_DAYS + days + 1) * _DAY
    moved = shifts(random, hours)
    levels = levels_of(columns)
    before = [draw_table(random, columns, _ROWS, windows=_STEP, shifts=moved[at : at + _STEP]) for at in range(0, start, _STEP)]
    timed = [_timed(to_batch(levels, part, i), _STEP * number_ + i) for number_, part in enumerate(before) for i in range(_STEP)]
    watches = {TESTED: Watch(Baseline.build(timed, backtest=("time", timedelta(hours=1)))), BARE: Watch(Baseline.build(timed))}
    rules = _peers(before, {column.name: len(column.levels) for column in columns if not column.numeric})
    del timed, before
    counts = Counts()
    for at in range(start, hours - _DAY, _STEP):
        drawn = draw_table(random, columns, _ROWS, windows=min(_STEP, hours - _DAY - at), shifts=moved[at : min(at + _STEP, hours - _DAY)])
        counts.add_peers(rules.flags(drawn))
        for name, watch in watches.items():
            flags = watch.flags(to_batch(levels, drawn, i) for i in range(len(next(iter(drawn.values())))))
            counts.add(name, len(flags), sum(map(bool, flags)), len(flags) * _COLUMNS, sum(map(len, flags)))
    moved[-_DAY:, 0] += _SHIFT
    drawn = draw_table(random, columns, _ROWS, windows=_DAY, shifts=moved[-_DAY:])
    found = watches[TESTED].flags(to_batch(levels, drawn, i) for i in range(_DAY))
    return counts, next((hour for hour, flags in enumerate(found, 1) if columns[0].name in flags), None)


def _timed(batch: pa.RecordBatch, hour: int) -> pa.RecordBatch:
    at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hour)
    return batch.append_column("time", pa.array([at] * batch.num_rows, pa.timestamp("s", "UTC")))


def _peers(parts: Sequence[dict[str, Matrix]], levels: dict[str, int]) -> TableRules:
    rules = TableRules({name: np.concatenate([part[name] for part in parts]) for name in parts[0]}, levels)
    for part in parts:
        rules.learn(part)
    return rules


def season(results: Sequence[tuple[Counts, int | None]], quick: bool) -> Section:
    """Print alarms by rule."""
    counts = Counts()
    for found, _ in results:
        counts.merge(found)
    rows: list[list[str]] = [
        [rule, rate(counts.alarms[rule], counts.windows[rule]), rate(counts.flags[rule], counts.columns[rule]), f"{counts.windows[rule]:,}"]
        for rule in _RULES
    ]
    title = f"{_COLUMNS} columns, daily season of {_SEASON} sd on a fifth of them, AR(1) {_AUTOREGRESSION} with sd {_SPREAD} on all, n = {_ROWS:,} an hour"
    alarms = 1000 * counts.alarms[TESTED] / counts.windows[TESTED]
    goal = Goal(
        "season.alarms",
        "season and autocorrelation, back-tested: windows with an alarm per 1,000",
        10,
        alarms,
        note=f"{counts.windows[TESTED]:,} windows",
    )
    delays: list[Any] = [delay if delay is not None else "not within 24" for _, delay in results]
    after = Table(
        "+0.5 sd on a seasonal column, back-tested: hours until it alarms",
        ["baseline", "hours"],
        [[str(i + 1), str(d)] for i, d in enumerate(delays)],
    )
    head = ["rule", "alarms per 1,000 windows", "flags per 1,000 feature-windows", "windows"]
    return Section([goal], [Table(title, head, rows), after], {rule: 1000 * counts.alarms[rule] / counts.windows[rule] for rule in _RULES})
