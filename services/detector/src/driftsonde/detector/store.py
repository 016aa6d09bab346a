"""The detector's tables, and the statements that more than one module needs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Row,
    String,
    Table,
    Text,
    bindparam,
    false,
    func,
    select,
)

from driftsonde.core import tracing
from driftsonde.core.store.engine import Database, UtcDateTime
from driftsonde.core.store.outbox import inbox_table, outbox_table

MIGRATIONS: Final = Path(__file__).parent / "migrations"

metadata: Final = MetaData()
outbox: Final = outbox_table(metadata)
inbox: Final = inbox_table(metadata)

# Ordered as bytes everywhere, as Python and SQLite do; a database's own collation would order keys by language.
_POSITION: Final = String(1400).with_variant(String(1400, collation="C"), "postgresql")

object_: Final = Table(
    "object", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("bucket", String(255), primary_key=True),
    Column("key", String(1024), primary_key=True),
    Column("version", String(1024)),
    Column("etag", String(255)),
    Column("sequencer", String(64)),
    Column("event_time", UtcDateTime, nullable=False),
    Column("first_seen", UtcDateTime, nullable=False),
    Column("size", BigInteger),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("outcome", String(24), nullable=False),
    Column("windows", Text, nullable=False, default="[]"),
    Column("tombstone", Boolean, nullable=False, default=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("trace", String(55)),  # the traceparent of its latest event: what is read later, in another process, goes on from it
    Index("object_outcome", "outcome", "monitor"),
    Index("object_event", "monitor", "event_time"),
)  # fmt: skip

part: Final = Table(
    "part", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("window", String(1300), primary_key=True),
    Column("bucket", String(255), primary_key=True),
    Column("key", String(1024), primary_key=True),
    Column("version", String(1024)),
    Column("etag", String(255)),
    Column("baseline", Integer, nullable=False),
    Column("rows", BigInteger, nullable=False),
    Column("sketch", LargeBinary, nullable=False),
    Index("part_object", "monitor", "bucket", "key"),
)  # fmt: skip

window: Final = Table(
    "window", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("id", String(1300), primary_key=True),
    Column("position", _POSITION, nullable=False),
    Column("baseline", Integer),  # null once every part was taken away: the next part brings the version in force
    Column("start", UtcDateTime),
    Column("end", UtcDateTime),
    Column("closed", Boolean, nullable=False, default=False),  # rows windows: it reached its size and takes no other drop
    Column("compacted", Boolean, nullable=False, default=False, server_default=false()),  # it has one part, of no object, and is final
    Column("rows", BigInteger, nullable=False, default=0),
    Column("first_drop", UtcDateTime),
    Column("verdict", String(16)),
    Column("revision", Integer, nullable=False, default=0),
    Column("digest", String(32)),
    Column("detail", Text),
    Column("judged_at", UtcDateTime),
    Index("window_order", "monitor", "baseline", "position"),
)  # fmt: skip

dirty: Final = Table(
    "dirty", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("window", String(1300), primary_key=True),
    Column("since", UtcDateTime, nullable=False),
    Column("marks", Integer, nullable=False),  # who judges a window unmarks what it saw, not what came meanwhile
    Column("trace", String(55)),  # the traceparent of what marked it last
)  # fmt: skip

baseline: Final = Table(
    "baseline", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("state", String(16), nullable=False),  # building, adopted, superseded (another was adopted first)
    Column("source", Text, nullable=False),
    Column("model", String(64)),
    Column("digest", String(64)),
    Column("rows", BigInteger, nullable=False, default=0),
    Column("data", LargeBinary),
    Column("error", Text),
    Column("claimed_until", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
)  # fmt: skip

episode: Final = Table(
    "episode", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("baseline", Integer, nullable=False),
    Column("opened", String(1300), nullable=False),
    Column("is_open", Boolean, nullable=False),
    Column("cause", String(16)),
    Column("event_id", String(32), nullable=False),
    Column("summary", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
)  # fmt: skip

attempt: Final = Table(
    "attempt", metadata,
    Column("bucket", String(255), primary_key=True),
    Column("key", String(1024), primary_key=True),
    Column("content", String(1300), primary_key=True),
    Column("count", Integer, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)  # fmt: skip

checkpoint: Final = Table(
    "checkpoint", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("bucket", String(255), primary_key=True),
    Column("key", String(1024), primary_key=True),
    Column("content", String(1300), nullable=False),
    Column("baseline", Integer, nullable=False),
    Column("groups", Integer, nullable=False),
    Column("counted", LargeBinary, nullable=False),
    Column("at", UtcDateTime, nullable=False),
)  # fmt: skip

progress: Final = Table(
    "progress", metadata,
    Column("monitor", String(32), primary_key=True),
    Column("watermark", UtcDateTime),
    Column("last_drop", UtcDateTime),
)  # fmt: skip

timeline: Final = Table(
    "timeline", metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("event_id", String(32), nullable=False, unique=True),
    Column("monitor", String(32), nullable=False),
    Column("episode", Integer),
    Column("type", String(64), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("body", Text, nullable=False),
    Index("timeline_monitor", "monitor", "id"),
)  # fmt: skip


# Made once: making a statement takes longer than running it.
_CURRENT: Final = select(func.max(baseline.c.version)).where(baseline.c.monitor == bindparam("of"), baseline.c.state == "adopted")
_ONE_MORE: Final = {"marks": dirty.c.marks + 1}
_WINDOW: Final = select(window).where(window.c.monitor == bindparam("of"), window.c.id == bindparam("its_id"))


def current_baseline(connection: Connection, monitor: str) -> int | None:
    """Return the version that new windows are measured against."""
    version: int | None = connection.scalar(_CURRENT, {"of": monitor})
    return version


def window_row(connection: Connection, monitor: str, window_id: str) -> Row[Any] | None:
    """Return a window."""
    return connection.execute(_WINDOW, {"of": monitor, "its_id": window_id}).first()


def mark_dirty(database: Database, connection: Connection, monitor: str, windows: Iterable[str], now: datetime) -> None:
    """Ask for windows to be judged again. In order of name: two that mark the same windows must not wait for each other."""
    for window_id in sorted(windows):
        values = {"monitor": monitor, "window": window_id, "since": now, "marks": 1, "trace": tracing.current()}
        database.put(connection, dirty, values, key=("monitor", "window"), update=("trace",), change=_ONE_MORE)


def dirty_monitors(connection: Connection) -> set[str]:
    """Return the monitors that have windows to judge."""
    return set(connection.scalars(select(dirty.c.monitor).distinct()).all())


def announced(connection: Connection, since: datetime) -> Sequence[str]:
    """Return the ids of the events that announced what is open, or was closed after `since`: the relay publishes them again and again.

    What closed soon after it was announced is published once more all the same: a broker may have lost it.
    """
    return connection.scalars(select(episode.c.event_id).where(episode.c.is_open | (episode.c.closed_at > since))).all()


def window_ids(row: Row[Any] | None) -> list[str]:
    """Return the windows that an object's row says it touches."""
    return list(json.loads(row.windows)) if row is not None else []
