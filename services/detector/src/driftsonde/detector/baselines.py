"""Frozen baselines, as the store has them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from driftsonde.core.errors import RetryableError
from driftsonde.core.events import BaselineRef
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import SketchError
from driftsonde.core.store.engine import Database
from driftsonde.detector import store


class Baselines:
    """Reads frozen baselines; they never change, so what was read once is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[tuple[str, int], FrozenBaseline] = {}

    async def get(self, monitor: str, version: int) -> FrozenBaseline:
        """Return a version.

        Raises:
            RetryableError: if it is not there (any more).
        """
        if (monitor, version) not in self._known:
            self._known[monitor, version] = await self._database.look(load, monitor, version)
        return self._known[monitor, version]


def load(connection: Connection, monitor: str, version: int) -> FrozenBaseline:
    """Read a baseline from the store.

    Raises:
        RetryableError: if it is not there or damaged.
    """
    table = store.baseline
    data = connection.scalar(select(table.c.data).where(table.c.monitor == monitor, table.c.version == version))
    try:
        return FrozenBaseline.from_bytes(data or b"")
    except SketchError as exc:
        raise RetryableError(f"baseline {version} of {monitor} cannot be read: {exc}", retry_after=30) from exc


def reference(connection: Connection, monitor: str, version: int) -> BaselineRef:
    """Return a baseline as events name it."""
    table = store.baseline
    row = connection.execute(
        select(table.c.digest, table.c.rows, table.c.model).where(table.c.monitor == monitor, table.c.version == version)
    ).one()
    return BaselineRef(version=version, digest=row.digest, rows=row.rows, model=row.model)
