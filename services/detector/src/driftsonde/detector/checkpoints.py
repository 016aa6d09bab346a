"""How far large objects were counted: a process that takes one over begins at the last row group that is stored."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlalchemy.exc import DBAPIError

from driftsonde.core.config import Monitor
from driftsonde.core.drops import Drop
from driftsonde.core.log import get_logger
from driftsonde.core.ports import Clock, ObjectInfo
from driftsonde.core.store.engine import Database
from driftsonde.detector import store

log = get_logger(__name__)

FROM_BYTES: Final = 64 * 1024 * 1024
"""Smaller objects are counted again as fast as a checkpoint would be stored."""
EVERY_SECONDS: Final = 10.0


class StoredCheckpoint:
    """The checkpoint of one object, monitor and baseline; used from the worker thread that counts."""

    def __init__(self, database: Database, clock: Clock, monitor: Monitor, drop: Drop, info: ObjectInfo, baseline: int) -> None:
        self._database, self._clock, self._uri = database, clock, drop.uri
        self._key = {"monitor": monitor.name, "bucket": drop.bucket, "key": drop.key}
        self._content = {"content": drop.version or info.etag, "baseline": baseline}
        self._last = time.monotonic()

    def load(self) -> tuple[int, bytes] | None:
        """Return row groups that are counted, and what they gave; None if nothing is stored of this content."""
        table = store.checkpoint
        mine = (table.c[name] == value for name, value in (self._key | self._content).items())
        with suppress(DBAPIError), self._database.read() as connection:  # then from the start
            row = connection.execute(select(table.c.groups, table.c.counted).where(*mine)).first()
            if row is not None:
                log.info("counting goes on where it ended", drop=self._uri, row_group=row.groups)
                return row.groups, row.counted
        return None

    def reached(self, groups: int, counted: Callable[[], bytes]) -> None:
        """Store it, if that was not done just now."""
        if time.monotonic() - self._last < EVERY_SECONDS:
            return
        values = {**self._key, **self._content, "groups": groups, "counted": counted(), "at": self._clock.now()}
        with suppress(DBAPIError), self._database.write() as connection:  # one checkpoint less
            self._database.put(connection, store.checkpoint, values, key=tuple(self._key), update=[*values.keys() - self._key.keys()])
        self._last = time.monotonic()


def forget(connection: Connection, monitor: str, drop: Drop) -> None:
    """Delete the checkpoint of an object that was counted."""
    table = store.checkpoint
    here: tuple[Any, ...] = (table.c.monitor == monitor, table.c.bucket == drop.bucket, table.c.key == drop.key)
    connection.execute(table.delete().where(*here))
