"""Judging windows again on a person's request, from what is stored: `driftsonde replay windows`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection, and_, func, or_, select

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.store.engine import Database
from driftsonde.detector import store


def judged_windows(connection: Connection, monitor: str, *, since: datetime | None = None, first: str | None = None) -> list[str]:
    """Return a monitor's windows that have a verdict; the others are judged anyway once they can be.

    Args:
        since: only those that began then or later; windows by rows begin with the event of their first drop.
        first: only this one and those after it, those of later baselines among them.

    Raises:
        DriftsondeError: if there is no such window, or none at all.
    """
    table = store.window
    mine = select(table.c.id).where(table.c.monitor == monitor, table.c.baseline.is_not(None), table.c.verdict.is_not(None))
    begin = store.window_row(connection, monitor, first) if first is not None else None
    if connection.execute(mine.limit(1)).first() is None:
        raise DriftsondeError(f"monitor {monitor!r} has no window that was judged")
    if first is not None and (begin is None or begin.baseline is None):
        raise DriftsondeError(f"monitor {monitor!r} has no window {first!r}")
    if begin is not None:
        after = and_(table.c.baseline == begin.baseline, table.c.position >= begin.position)
        mine = mine.where(or_(table.c.baseline > begin.baseline, after))
    if since is not None:
        mine = mine.where(func.coalesce(table.c.start, table.c.first_drop) >= since)
    return list(connection.scalars(mine))


def judge_again(database: Database, connection: Connection, monitor: str, windows: Iterable[str]) -> None:
    """Mark windows: a running detector judges them at its next sweep, and announces what is changed by that."""
    store.mark_dirty(database, connection, monitor, windows, datetime.now(UTC))
