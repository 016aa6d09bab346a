"""The flights that left New York in 2013: storms in February and March, and months unlike January."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from driftsonde.core.api import Baseline

from .realdata import Rows, flight_table, flights
from .report import Goal, Section, Table
from .rules import PEERS, TableRules
from .tasks import Task
from .watch import OURS, Watch, alarming

_FIRST, _LAST = date(2013, 2, 1), date(2013, 3, 10)
_STORMS = {date(2013, 2, 8), date(2013, 2, 9), date(2013, 3, 6), date(2013, 3, 8)}
_REFERENCE = [date(2013, 2, day) for day in (8, 9, 11, 27)] + [date(2013, 3, day) for day in (1, 6, 8)]
_REFERENCE_COUNTS = dict(zip(PEERS, (38, 38, None, 36, 0, 35, 13, 11, 29), strict=True))
_BINS = (64, 256)
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November", "December")
_REFERENCE_MONTHS = {
    5: "arr_delay, air_time", 6: "dep_delay", 7: "dep_delay", 9: "arr_delay", 12: "delays",
}  # fmt: skip


def tasks(quick: bool) -> Iterator[Task]:
    """Yield one task for ours and one for the other rules."""
    yield Task(_ours, (), 40)
    yield Task(_others, (), 40)


def name_of(bins: int, *, tested: bool) -> str:
    """Return what a line of the calendar is called."""
    return f"{OURS}, {'' if tested else 'not '}back-tested, {bins} bins"


def _days() -> list[date]:
    return [_FIRST + timedelta(days=i) for i in range((_LAST - _FIRST).days + 1)]


def _index() -> np.ndarray[Any, Any]:
    """Return each flight's day as a numpy date."""
    table = flight_table()
    year, month, day = (table.column(name).to_numpy() for name in ("year", "month", "day"))
    months = (year - 1970).astype("datetime64[Y]").astype("datetime64[M]") + (month - 1)
    return np.asarray(months.astype("datetime64[D]") + (day - 1))


def january_days() -> list[np.ndarray[Any, Any]]:
    """Return the rows of each day of the baseline."""
    index = _index()
    return [_rows_of(index, date(2013, 1, 1) + timedelta(days=i)) for i in range(31)]


def days_of() -> list[np.ndarray[Any, Any]]:
    """Return the rows of each day that is judged."""
    index = _index()
    return [_rows_of(index, day) for day in _days()]


def _rows_of(index: np.ndarray[Any, Any], day: date) -> np.ndarray[Any, Any]:
    return np.flatnonzero(index == np.datetime64(day))


def _january(rows: Rows, index: np.ndarray[Any, Any], bins: int, *, tested: bool) -> Baseline:
    chosen = np.flatnonzero(index < np.datetime64("2013-02-01"))
    batch = rows.batch(chosen).append_column("date", pa.array(index[chosen].astype("datetime64[s]")))
    return Baseline.build(batch, bins=bins, backtest=("date", timedelta(days=1)) if tested else None)


def _ours() -> dict[str, Any]:
    rows, index = flights(), _index()
    found: dict[str, Any] = {"days": {}, "columns": {}, "months": {}}
    for bins in _BINS:
        for tested in (True, False):
            name = name_of(bins, tested=tested)
            baseline = _january(rows, index, bins, tested=tested)
            watch = Watch(baseline)
            flags = {day: alarming(watch.see(rows.batch(_rows_of(index, day)))) for day in _days()}
            found["days"][name] = [day.isoformat() for day, columns in flags.items() if columns]
            found["columns"][name] = {day.isoformat(): sorted(columns) for day, columns in flags.items() if columns}
            found["months"][name] = _months(rows, index, baseline)
    return found


def _months(rows: Rows, index: np.ndarray[Any, Any], baseline: Baseline) -> dict[str, list[str]]:
    """Judge each month alone."""
    month = index.astype("datetime64[M]")
    found = {}
    for number in range(2, 13):
        chosen = np.flatnonzero(month == np.datetime64(f"2013-{number:02d}"))
        found[str(number)] = sorted(alarming(Watch(baseline).see(rows.batch(chosen))))
    return found


def _others() -> dict[str, Any]:
    rows, index = flights(), _index()
    rules = TableRules(rows.take(np.flatnonzero(index < np.datetime64("2013-02-01"))), rows.sizes())
    rules.learn(rows.ragged(january_days()))
    flags = rules.flags(rows.ragged(days_of()))
    return {"days": {rule: [day.isoformat() for day, alarm in zip(_days(), flags.alarms[rule], strict=True) if alarm] for rule in PEERS}}


def section(results: Sequence[Mapping[str, Any]], quick: bool) -> Section:
    """Print the days by rule, the months, and hold the back-tested rule against the storms."""
    ours, others = results
    days: dict[str, list[str]] = {**others["days"], **ours["days"]}
    main = days[name_of(64, tested=True)]
    reference = [day.isoformat() for day in _REFERENCE]
    same = len(set(main) ^ set(reference))
    goals = [Goal("flights.days", "flights, 64 bins, back-tested: days that differ from the reference's seven", 0, same, note="38 days")]
    for bins in _BINS:
        hit = sum(day.isoformat() in days[name_of(bins, tested=True)] for day in _STORMS)
        goals.append(
            Goal(
                f"flights.storms.{bins}",
                f"flights, {bins} bins, back-tested: days of the two storms found",
                4,
                hit,
                most=False,
                note="8–9 February, 6 and 8 March",
            )
        )
    return Section(
        goals,
        [_day_table(days), _why_table(ours["columns"]), _month_table(ours["months"])],
        {"days": days, "all": [d.isoformat() for d in _days()]},
    )


def _day_table(days: Mapping[str, Sequence[str]]) -> Table:
    references: dict[str, int | None] = {**_REFERENCE_COUNTS, name_of(64, tested=True): 7, name_of(64, tested=False): 20}
    rows = []
    for rule, flagged in days.items():
        listed = _list(flagged) if len(flagged) <= 15 else "most"
        rows.append([rule, str(len(flagged)), str(references.get(rule) if references.get(rule) is not None else "–"), listed])
    return Table("Days flagged of 38, 1 February to 10 March, against January", ["rule", "days", "reference", "which"], rows)


def _list(days: Sequence[str]) -> str:
    found: dict[str, list[str]] = {}
    for day in days:
        at = date.fromisoformat(day)
        found.setdefault(_MONTHS[at.month - 1], []).append(str(at.day))
    return "; ".join(f"{', '.join(numbers)} {month}" for month, numbers in found.items()) or "none"


def _why_table(columns: Mapping[str, Mapping[str, Sequence[str]]]) -> Table:
    tested = {bins: columns[name_of(bins, tested=True)] for bins in _BINS}
    days = sorted({day for found in tested.values() for day in found})
    rows = [[_list([day]), *(", ".join(tested[bins].get(day, [])) or "–" for bins in _BINS)] for day in days]
    return Table("Columns that alarm, back-tested", ["day", *(f"{bins} bins" for bins in _BINS)], rows)


def _month_table(months: Mapping[str, Mapping[str, Sequence[str]]]) -> Table:
    names = [name_of(64, tested=False), name_of(64, tested=True), name_of(256, tested=True)]
    rows = [
        [_MONTHS[number - 1], _REFERENCE_MONTHS.get(number, "–"), *(", ".join(months[name][str(number)]) or "–" for name in names)]
        for number in range(2, 13)
    ]
    return Table("Months against January, each judged alone", ["month", "reference", *names], rows)
