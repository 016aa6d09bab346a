"""What the console reads from the store, in a bounded number of bounded statements, however much is stored."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, Select, bindparam, func, select

from driftsonde.core.errors import PoisonError
from driftsonde.core.events import Event, parse_event
from driftsonde.detector import store
from driftsonde.detector.learning import progress
from driftsonde.detector.ledger import PENDING
from driftsonde.detector.metrics import OUTCOMES

MONITORS: Final = 50
"""Monitors on a page."""
STRIP, LONG_STRIP = 12, 60
WINDOWS: Final = 50
EPISODES: Final = 20
_OPEN: Final = 50
_EVENTS: Final = 40
_REJECTED: Final = 20
_ANSWERING: Final = 1_000
_NO_ALARMS: Final = ("drift.detected", "data.untrusted", "drop.rejected")  # up to 200 KB each; the episode's row says enough

_STATES: Final = (*OUTCOMES, "damaged")  # named: so the index on (outcome, monitor) is all that is read

# Made once: making a statement takes longer than running it, and there is one for each monitor of a page.
_MINE: Final = (store.window.c.monitor == bindparam("of"), store.window.c.baseline.is_not(None))
_NEWEST_FIRST: Final = (store.window.c.baseline.desc(), store.window.c.position.desc())
_BRIEF: Final = [store.window.c[name] for name in ("id", "start", "first_drop", "verdict", "rows", "judged_at")]
_LATEST: Final = select(*_BRIEF).where(*_MINE).order_by(*_NEWEST_FIRST).limit(bindparam("most"))
_PAGE: Final[Select[Any]] = (
    select(*_BRIEF, store.window.c.revision, store.window.c.detail)
    .where(*_MINE)
    .order_by(*_NEWEST_FIRST)
    .limit(WINDOWS)
    .offset(bindparam("skip"))
)
_COUNT: Final = select(func.count()).select_from(store.window).where(*_MINE)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many of something wait, and since when the oldest does."""

    count: int
    since: datetime | None


@dataclass(frozen=True, slots=True)
class MonitorRows:
    """What the store has of a monitor.

    Args:
        baseline: the version in force.
        building: the version that is wanted next.
        learning: how many of how many drops are known, for a baseline that is learned.
        windows: the latest, newest first.
    """

    name: str
    baseline: Row[Any] | None
    building: Row[Any] | None
    learning: Mapping[str, int] | None
    outcomes: Mapping[str, int]
    waiting: Waiting
    windows: Sequence[Row[Any]]
    open: Sequence[Row[Any]]


@dataclass(frozen=True, slots=True)
class FleetRows:
    """What the first page is made of.

    Args:
        open: episodes that are open, newest first; those on the page.
        open_total: how many there are.
        total: of all monitors.
    """

    monitors: Sequence[MonitorRows]
    skipped: int
    total: int
    open: Sequence[Row[Any]]
    open_total: int
    pending: Waiting
    dirty: Waiting
    outbox: Waiting


@dataclass(frozen=True, slots=True)
class HistoryRows:
    """What the page of a monitor is made of.

    Args:
        strip: windows, newest first; `windows` likewise, with what was found in them.
        answers: of each episode on the page, the events that answered it.
    """

    monitor: MonitorRows
    strip: Sequence[Row[Any]]
    windows: Sequence[Row[Any]]
    skipped: int
    windows_total: int
    episodes: Sequence[Row[Any]]
    episodes_total: int
    answers: Sequence[Event]
    events: Sequence[Event]
    rejected: Sequence[Event]


def ask_fleet(connection: Connection, names: Sequence[str], page: int) -> FleetRows:
    """Read a page of the monitors; those with open episodes come first."""
    table = store.episode
    opened = connection.execute(
        select(table).where(table.c.is_open, table.c.monitor.in_(names)).order_by(table.c.opened_at.desc(), table.c.monitor, table.c.number)
    ).all()
    concerned = {row.monitor for row in opened}
    ordered = sorted(names, key=lambda name: name not in concerned)
    skipped = MONITORS * min(page - 1, (max(len(names), 1) - 1) // MONITORS)
    return FleetRows(
        ask_monitors(connection, ordered[skipped : skipped + MONITORS], opened), skipped, len(names), opened[:_OPEN], len(opened),
        _pending(connection), _dirty(connection), _outbox(connection),
    )  # fmt: skip


def ask_history(connection: Connection, name: str, page: int) -> HistoryRows:
    """Read what there is of a monitor, and a page of its windows."""
    table = store.episode
    mine = table.c.monitor == name
    episodes = connection.execute(select(table).where(mine).order_by(table.c.number.desc()).limit(EPISODES)).all()
    total = connection.scalar(_COUNT, {"of": name}) or 0
    skipped = WINDOWS * min(page - 1, (max(total, 1) - 1) // WINDOWS)
    (monitor,) = ask_monitors(connection, [name], [row for row in episodes if row.is_open])
    heard = store.timeline.c
    return HistoryRows(
        monitor,
        connection.execute(_LATEST, {"of": name, "most": LONG_STRIP}).all(),
        connection.execute(_PAGE, {"of": name, "skip": skipped}).all(),
        skipped, total, episodes,
        connection.scalar(select(func.count()).select_from(table).where(mine)) or 0,
        _heard(connection, name, _ANSWERING, heard.episode.in_([row.number for row in episodes]), heard.type.not_in(_NO_ALARMS)),
        _heard(connection, name, _EVENTS, heard.type != "drop.rejected"),
        _heard(connection, name, _REJECTED, heard.type == "drop.rejected"),
    )  # fmt: skip


def ask_monitors(connection: Connection, names: Sequence[str], opened: Sequence[Row[Any]]) -> list[MonitorRows]:
    """Read some monitors.

    Args:
        opened: open episodes, theirs among them.
    """
    bases = _baselines(connection, names)
    outcomes, dirty = _outcomes(connection, names), _dirty_of(connection, names)
    found = []
    for name in names:
        adopted, building = bases.get((name, "adopted")), bases.get((name, "building"))
        found.append(MonitorRows(
            name, adopted, building, _learning(connection, building), outcomes.get(name, {}), dirty.get(name, Waiting(0, None)),
            connection.execute(_LATEST, {"of": name, "most": STRIP}).all(), [row for row in opened if row.monitor == name],
        ))  # fmt: skip
    return found


def _baselines(connection: Connection, names: Sequence[str]) -> dict[tuple[str, str], Row[Any]]:
    """Return of each monitor the newest version that was adopted, and the oldest that is being built."""
    table = store.baseline
    columns = [table.c[name] for name in ("monitor", "version", "state", "model", "digest", "rows", "error", "created_at")]
    rows = connection.execute(
        select(*columns).where(table.c.monitor.in_(names), table.c.state.in_(["adopted", "building"])).order_by(table.c.version.desc())
    ).all()
    found: dict[tuple[str, str], Row[Any]] = {}
    for row in rows:
        if row.state == "building" or (row.monitor, row.state) not in found:
            found[row.monitor, row.state] = row
    return found


def _learning(connection: Connection, building: Row[Any] | None) -> Mapping[str, int] | None:
    if building is None:
        return None
    table = store.baseline
    source = connection.scalar(select(table.c.source).where(table.c.monitor == building.monitor, table.c.version == building.version))
    return progress(connection, building.monitor, json.loads(source or "{}"))


def _outcomes(connection: Connection, names: Sequence[str]) -> dict[str, dict[str, int]]:
    table = store.object_
    wanted = (table.c.outcome.in_(_STATES), table.c.monitor.in_(names))
    found: dict[str, dict[str, int]] = {}
    for row in connection.execute(
        select(table.c.monitor, table.c.outcome, func.count().label("found")).where(*wanted).group_by(table.c.monitor, table.c.outcome)
    ):
        found.setdefault(row.monitor, {})[row.outcome] = row.found
    return found


def _dirty_of(connection: Connection, names: Sequence[str]) -> dict[str, Waiting]:
    table = store.dirty
    rows = connection.execute(
        select(table.c.monitor, func.count(), func.min(table.c.since)).where(table.c.monitor.in_(names)).group_by(table.c.monitor)
    )
    return {name: Waiting(count, since) for name, count, since in rows}


def _pending(connection: Connection) -> Waiting:
    table = store.object_
    return _waiting(connection, select(func.count(), func.min(table.c.updated_at)).where(table.c.outcome.in_(PENDING)))


def _dirty(connection: Connection) -> Waiting:
    return _waiting(connection, select(func.count(), func.min(store.dirty.c.since)))


def _outbox(connection: Connection) -> Waiting:
    """What is published again on purpose is not late: only what never was counts, as in the metric."""
    table = store.outbox
    return _waiting(
        connection, select(func.count(), func.min(table.c.created_at)).where(table.c.published_at.is_(None), table.c.attempt == 0)
    )


def _waiting(connection: Connection, statement: Any) -> Waiting:
    count, since = connection.execute(statement).one()
    return Waiting(count, since)


def _heard(connection: Connection, monitor: str, most: int, *wanted: Any) -> list[Event]:
    """Return the latest events of a monitor, newest first; those of a newer version's types are left out."""
    table = store.timeline
    statement = select(table.c.body).where(table.c.monitor == monitor, *wanted).order_by(table.c.id.desc()).limit(most)
    return list(parsed(connection.scalars(statement)))


def parsed(bodies: Iterable[str]) -> Iterable[Event]:
    """Yield events as they were stored, but for those that only a newer version knows."""
    for body in bodies:
        with suppress(PoisonError):
            yield parse_event(body.encode())
