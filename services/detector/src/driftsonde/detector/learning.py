"""Learning a baseline from a monitor's first drops: which ones, and what becomes of them.

They are chosen once there are enough, and stored in the baseline's row before they are read: whoever takes the build over after a
crash reads the same ones, whatever came meanwhile. One that cannot be read, or was being read when a process died, is passed over and
the choice made anew; it stays `pending`, and meets its end as any other when there is a baseline.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
from sqlalchemy import Connection, bindparam, func, select

from driftsonde.core.config import Monitor
from driftsonde.core.drops import Drop
from driftsonde.core.errors import GoneError, UnreadableObject
from driftsonde.core.events import DropRef
from driftsonde.core.readers import Limits, StoreSource, open_table
from driftsonde.detector import store
from driftsonde.detector.attempts import deaths_of

Asked = dict[str, Any]
"""A baseline row's source: `config`, `columns`; then `drops` once they are chosen, and `passed_over`."""

_CONTENT: Final = ("bucket", "key", "version", "etag")
_TABLE: Final = store.object_
# Only what is still as it was read: an object that was overwritten meanwhile is a new drop.
_LEARNED: Final = (
    _TABLE.update()
    .where(
        _TABLE.c.monitor == bindparam("of"),
        _TABLE.c.bucket == bindparam("its_bucket"),
        _TABLE.c.key == bindparam("its_key"),
        _TABLE.c.version.is_not_distinct_from(bindparam("its_version")),
        _TABLE.c.etag.is_not_distinct_from(bindparam("its_etag")),
        _TABLE.c.outcome == "pending",
    )
    .values(outcome="learned", updated_at=bindparam("now"))
)


class Unlearnable(Exception):  # control flow between reading and choosing anew, never seen outside
    """Some of the chosen drops cannot be read."""

    def __init__(self, drops: Sequence[DropRef], detail: str) -> None:
        super().__init__(detail)
        self.drops = drops


def wanted(asked: Asked) -> int:
    """Return from how many drops a baseline is to be learned; 0 if it is built from what is named."""
    return int(asked.get("config", {}).get("learn") or 0)


def choose(connection: Connection, monitor: str, asked: Asked) -> Asked | None:
    """Return what was asked for with its drops chosen: the first in the order of (first seen, bucket, key), whenever they came to be known.

    Returns:
        None while there are too few.
    """
    if not wanted(asked) or "drops" in asked:
        return asked
    if _count(connection, monitor) < wanted(asked):
        return None
    found = _first(connection, monitor, asked)
    return {**asked, "drops": found} if len(found) == wanted(asked) else None


def pass_over(asked: Asked, drops: Iterable[DropRef]) -> Asked:
    """Return what was asked for, to be chosen anew without some drops."""
    bad = [_named(drop.model_dump()) for drop in drops]
    return {**{name: asked[name] for name in ("config", "columns")}, "passed_over": [*asked.get("passed_over", ()), *bad]}


def progress(connection: Connection, monitor: str, asked: Asked) -> dict[str, int] | None:
    """Return how many of how many drops are known; None if the baseline is not learned."""
    of = wanted(asked)
    if not of:
        return None
    return {"known": of if "drops" in asked else min(of, len(_first(connection, monitor, asked))), "of": of}


def mark_learned(connection: Connection, monitor: str, asked: Asked, now: datetime) -> int:
    """Say of the drops that they are the baseline: they are not judged against it. Returns how many are still as they were read."""
    # In order of key: two transactions that change the same objects must not wait for each other.
    drops = sorted(asked["drops"], key=lambda drop: (drop["bucket"], drop["key"]))
    values = [{"of": monitor, "now": now, **{f"its_{name}": drop.get(name) for name in _CONTENT}} for drop in drops]
    return int(connection.execute(_LEARNED, values).rowcount)


def killers(connection: Connection, drops: Iterable[DropRef]) -> list[DropRef]:
    """Return those that were being read when a process died."""
    return [drop for drop in drops if deaths_of(connection, as_drop(drop))]


def as_drop(drop: DropRef) -> Drop:
    """Return a chosen drop as its attempts are stored under; its time does not matter to them."""
    return Drop("created", drop.bucket, drop.key, datetime.min.replace(tzinfo=UTC), etag=drop.etag, version=drop.version)


def batches_of(monitor: Monitor, drop: DropRef, source: StoreSource, limits: Limits) -> Iterator[pa.RecordBatch]:
    """Yield a drop's rows, within the bounds that it would be judged in.

    Raises:
        Unlearnable: if it cannot be read, or is gone.
    """
    try:
        reader, rows = open_table(source, text=monitor.columns.categorical, form=monitor.format, limits=limits), 0
        for batch in limits.in_time(reader.batches(), source.name, source.size):
            rows += batch.num_rows
            yield batch
    except (UnreadableObject, GoneError) as exc:
        raise Unlearnable([drop], str(exc)) from exc
    total = rows + reader.bad_rows
    if reader.bad_rows and reader.bad_rows / total > monitor.policy.bad_rows:
        raise Unlearnable([drop], f"{drop.uri}: {reader.bad_rows} of {total} rows cannot be parsed")


def _count(connection: Connection, monitor: str) -> int:
    mine = (_TABLE.c.outcome == "pending", _TABLE.c.monitor == monitor)
    return connection.scalar(select(func.count()).select_from(_TABLE).where(*mine)) or 0


def _first(connection: Connection, monitor: str, asked: Asked) -> list[dict[str, str]]:
    """Return the first drops, as many as are wanted, but for those that were passed over."""
    passed = [_named(drop) for drop in asked.get("passed_over", ())]
    enough = wanted(asked) + len(passed)
    mine = select(_TABLE).where(_TABLE.c.outcome == "pending", _TABLE.c.monitor == monitor)
    last = connection.execute(mine.order_by(_TABLE.c.first_seen).offset(enough - 1).limit(1)).first()
    rows = connection.execute(mine if last is None else mine.where(_TABLE.c.first_seen <= last.first_seen)).mappings().all()
    # Sorted here: a database orders keys by its own language.
    ordered = sorted(rows, key=lambda row: (row["first_seen"], row["bucket"], row["key"]))
    return [drop for drop in map(_named, ordered) if drop not in passed][: wanted(asked)]


def _named(drop: Any) -> dict[str, str]:
    return {name: drop[name] for name in _CONTENT if drop.get(name) is not None}
