"""From rows to what is shown. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, cast, get_args
from urllib.parse import quote

from driftsonde.core.aws.watch import Seen
from driftsonde.core.events import DropRejected, Event
from driftsonde.core.report.decided import decided
from driftsonde.core.report.model import Mark, Word
from driftsonde.core.report.story import LINE, answer, moment, of_episode, steps
from driftsonde.core.text import clean
from driftsonde.detector.console.asked import MONITORS, WINDOWS, FleetRows, HistoryRows, MonitorRows, Waiting
from driftsonde.detector.console.model import EpisodeLine, Fleet, Gauge, MonitorLine, MonitorPage, Pager, Rejection, WindowLine
from driftsonde.detector.console.queues import TITLES

_SUMMARY = 600
_KEY = 1_100
_NAMED = 3
_LATE = 60.0
_ALARMS = ("drift", "missing_column", "type_changed")
_TOLD = ("answer", "why", "what drifted", "is the data trusted", "labels", "expected cost")  # the rest is in the report


def fleet_of(rows: FleetRows, queues: Sequence[Seen], now: datetime) -> Fleet:
    """Return the first page."""
    return Fleet(
        _second(now),
        (*(_queue_gauge(seen, now) for seen in queues), *_store_gauges(rows, now)),
        tuple(_episode(row) for row in rows.open),
        rows.open_total - len(rows.open),
        tuple(_line(monitor, now) for monitor in rows.monitors),
        _pager("/", rows.skipped, len(rows.monitors), rows.total, MONITORS),
    )


def monitor_of(rows: HistoryRows, now: datetime) -> MonitorPage:
    """Return the page of a monitor."""
    line = _line(rows.monitor, now)
    return MonitorPage(
        _second(now),
        line,
        tuple(_mark(row) for row in reversed(rows.strip)),
        tuple(_episode(row, of_episode(rows.answers, row.number)) for row in rows.episodes),
        rows.episodes_total - len(rows.episodes),
        tuple(_window(rows.monitor.name, row) for row in rows.windows),
        _pager(line.address, rows.skipped, len(rows.windows), rows.windows_total, WINDOWS),
        tuple(steps(rows.events)),
        tuple(_rejection(event) for event in rows.rejected),
    )


def age(seconds: float) -> str:
    """Return a span of time in the largest unit that has at least two of it."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}s"
    return f"{max(seconds, 0):.0f} s"


def _line(rows: MonitorRows, now: datetime) -> MonitorLine:
    last = next((row for row in rows.windows if row.verdict), None)
    judged = f"Judged {moment(last.judged_at)}: {_name(last.id)}, {last.rows:,} rows" if last is not None else "No window was judged yet"
    return MonitorLine(
        rows.name,
        f"/monitors/{quote(rows.name, safe='')}",
        _word(last.verdict if last is not None else None),
        judged,
        _baseline(rows),
        " · ".join(f"{count:,} {outcome}" for outcome, count in sorted(rows.outcomes.items(), key=lambda item: -item[1])) or "none yet",
        tuple(_mark(row) for row in reversed(rows.windows)),
        f"{rows.waiting.count:,}{_since(rows.waiting, now)}" if rows.waiting.count else "",
        tuple((row.number, _report(row.monitor, row.number)) for row in rows.open),
    )


def _baseline(rows: MonitorRows) -> str:
    """Say which baseline a monitor has, and how far it is on the way to the next one."""
    said = []
    if rows.baseline is not None:
        model = f", of model {clean(rows.baseline.model)}" if rows.baseline.model else ""
        said.append(f"version {rows.baseline.version}, {rows.baseline.rows:,} rows{model}")
    if rows.building is not None:
        of = rows.learning
        state = f"learning {of['known']:,} of {of['of']:,} drops" if of else f"version {rows.building.version} is being built"
        said.append(f"{state}: {clean(rows.building.error, LINE)}" if rows.building.error else state)
    return "; ".join(said) or "none yet"


def _mark(row: Any) -> Mark:
    return Mark(_name(row.id), moment(row.start or row.first_drop), _word(row.verdict), (), False)


def _window(monitor: str, row: Any) -> WindowLine:
    return WindowLine(
        clean(row.id, _KEY), f"/reports/{quote(monitor, safe='')}/windows?window={quote(row.id, safe='')}" if row.verdict else "",
        moment(row.start or row.first_drop), row.rows, _word(row.verdict), row.revision, moment(row.judged_at),
        _found(json.loads(row.detail).get("columns", {})) if row.detail else "",
    )  # fmt: skip


def _found(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the columns that alarm, those first that are farthest beyond what alarms."""

    def strength(item: tuple[str, Mapping[str, Any]]) -> tuple[float, str]:
        name, entry = item
        return -float(entry.get("score", 0.0)) / max(float(entry.get("critical", 1.0)), 1e-12), name

    alarming = sorted(((name, entry) for name, entry in columns.items() if entry.get("status") in _ALARMS), key=strength)
    said = [
        f"{clean(name)}: {clean(str(entry['check']))} {entry['score']:.3g}" if "check" in entry
        else f"{clean(name)}: {entry['status'].replace('_', ' ')}"
        for name, entry in alarming[:_NAMED]
    ]  # fmt: skip
    more = [f"{len(alarming) - _NAMED} more"] if len(alarming) > _NAMED else []
    return ", ".join([*said, *more])


def _episode(row: Any, events: Sequence[Event] = ()) -> EpisodeLine:
    record, opened = [fact for fact in decided(events) if fact.name in _TOLD], moment(row.opened_at)
    return EpisodeLine(
        row.monitor, row.number, "untrusted" if row.kind == "untrusted" else "drift",
        f"open since {opened}" if row.is_open else f"opened {opened}, closed {moment(row.closed_at)} ({clean(row.cause or 'no cause')})",
        clean(row.summary, _SUMMARY), _report(row.monitor, row.number),
        answer(events) if events else "", tuple(record),
    )  # fmt: skip


def _rejection(event: Event) -> Rejection:
    data = event.data
    assert isinstance(data, DropRejected)  # no other was asked for
    return Rejection(moment(event.time), clean(data.drop.uri, _KEY), clean(data.reason), clean(data.message, LINE))


def _queue_gauge(seen: Seen, now: datetime) -> Gauge:
    if seen.counts is None:
        return Gauge(TITLES[seen.name], "not known", seen.problem)
    old = f"counted {age((now - seen.at).total_seconds())} ago" if seen.at is not None else ""
    stale = f"; {seen.problem}" if seen.problem else ""
    counts = seen.counts
    taken = f", {counts.taken:,} being read" if counts.taken else ""
    put_off = f", {counts.delayed:,} put off" if counts.delayed else ""
    return Gauge(TITLES[seen.name], f"{counts.waiting:,} waiting{taken}{put_off}", f"{old}{stale}", seen.is_letters and counts.waiting > 0)


def _store_gauges(rows: FleetRows, now: datetime) -> tuple[Gauge, ...]:
    return (
        _gauge("Pending drops", rows.pending, now, "settled, to be read when there is a baseline or a slot"),
        _gauge("Windows to judge", rows.dirty, now, "changed since they were judged", late=_LATE),
        _gauge("Outbox", rows.outbox, now, "events that were not published yet", late=_LATE),
    )


def _gauge(name: str, waiting: Waiting, now: datetime, note: str, *, late: float | None = None) -> Gauge:
    raised = late is not None and waiting.since is not None and (now - waiting.since).total_seconds() > late
    return Gauge(name, f"{waiting.count:,}{_since(waiting, now)}", note, raised)


def _since(waiting: Waiting, now: datetime) -> str:
    return f", the oldest for {age((now - waiting.since).total_seconds())}" if waiting.since is not None else ""


def _pager(address: str, skipped: int, shown: int, total: int, size: int) -> Pager:
    page = skipped // size + 1
    newer = "" if page == 1 else address if page == 2 else f"{address}?page={page - 1}"
    return Pager(min(skipped + 1, total), skipped + shown, total, newer, f"{address}?page={page + 1}" if skipped + shown < total else "")


def _report(monitor: str, number: int) -> str:
    return f"/reports/{quote(monitor, safe='')}/{number}"


def _name(window: str) -> str:
    """Return a window's name for a line; of a long one its end, which tells it from others."""
    return clean(window, 120) if len(window) <= 120 else f"…{clean(window[-119:], 119)}"


def _word(verdict: str | None) -> Word:
    return cast("Word", verdict if verdict in get_args(Word) else "unjudged")


def _second(now: datetime) -> str:
    return f"{now:%Y-%m-%d %H:%M:%S} UTC"
