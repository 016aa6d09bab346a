"""Baselines: built once under a lease, frozen, versioned, and adopted for windows that have no part yet."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, Row, func, or_, select

from driftsonde.core.building import build
from driftsonde.core.config import Config, Monitor
from driftsonde.core.errors import DriftsondeError, GoneError, RetryableError
from driftsonde.core.events import BaselineAdopted, BaselineRef, DriftResolved, DropRef, ModelPromoted
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.names import split_s3
from driftsonde.core.ports import Clock, ObjectStore
from driftsonde.core.readers import StoreSource, open_table
from driftsonde.core.sketch.codec import SketchError
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.policy import build_options

log = get_logger(__name__)

CLAIM = timedelta(seconds=30)  # after a crash, this long until another takes the build over
_RETRY = timedelta(seconds=15)
_POLL_SECONDS = 2.0


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


class Builder:
    """Builds what is asked for, one at a time, and adopts it."""

    def __init__(self, database: Database, outbox: Outbox, objects: ObjectStore, config: Config, clock: Clock, health: Health) -> None:
        self._database, self._outbox, self._objects = database, outbox, objects
        self._config, self._clock, self._health = config, clock, health

    async def run(self, stop: asyncio.Event, adopted: Callable[[], None]) -> None:
        """Build until `stop` is set; calls `adopted` after each adoption."""
        requested = False
        while not stop.is_set():
            self._health.beat("builder")
            try:
                if not requested:
                    await self._database.run(self._request_configured)
                    requested = True
                if await self.build_one():
                    adopted()
                    continue
            except RetryableError as exc:
                log.warning("cannot look for baselines to build", error=str(exc))
            await wait_or_stop(stop, _POLL_SECONDS)

    async def build_one(self) -> bool:
        """Claim a baseline that is wanted, and build it; True when it is in force."""
        row = await self._database.run(self._claim)
        return row is not None and await self._build(row)

    def request(self, connection: Connection, promoted: ModelPromoted) -> None:
        """Ask for the baseline of what a new champion was trained on."""
        drops = [drop.model_dump(exclude_none=True) for drop in promoted.drops]
        self._database.lock(connection, f"baseline:{promoted.monitor}")
        self._insert(connection, promoted.monitor, json.dumps({"drops": drops}), promoted.model)

    def _request_configured(self, connection: Connection) -> None:
        """Ask for every configured baseline that was not built; an adopted one wins until the configured value changes."""
        for monitor in self._config.monitors:
            self._database.lock(connection, f"baseline:{monitor.name}")
            source = json.dumps({"config": monitor.baseline.model_dump(), "columns": monitor.columns.model_dump()})
            table = store.baseline
            latest = connection.scalars(
                select(table.c.source)
                .where(table.c.monitor == monitor.name, table.c.model.is_(None))
                .order_by(table.c.version.desc())
                .limit(1)
            ).first()
            if latest != source:
                self._insert(connection, monitor.name, source, None)

    def _insert(self, connection: Connection, monitor: str, source: str, model: str | None) -> None:
        table = store.baseline
        newest = connection.scalar(select(func.max(table.c.version)).where(table.c.monitor == monitor)) or 0
        connection.execute(
            table.insert().values(
                monitor=monitor, version=newest + 1, state="building", source=source, model=model, rows=0, created_at=self._clock.now()
            )
        )

    def _claim(self, connection: Connection) -> Row[Any] | None:
        table, now = store.baseline, self._clock.now()
        # A claim that lasts longer than any does is one of a clock that has gone back since.
        free = or_(table.c.claimed_until.is_(None), table.c.claimed_until < now, table.c.claimed_until > now + 2 * CLAIM)
        names = [monitor.name for monitor in self._config.monitors]
        wanted = select(table).where(table.c.state == "building", free, table.c.monitor.in_(names)).order_by(table.c.created_at).limit(1)
        row = connection.execute(wanted if self._database.is_sqlite else wanted.with_for_update(skip_locked=True)).first()
        if row is not None:
            self._extend(connection, row, now + CLAIM)
        return row

    def _extend(self, connection: Connection, row: Row[Any], until: Any, error: str | None = None) -> None:
        table = store.baseline
        connection.execute(
            table.update().where(table.c.monitor == row.monitor, table.c.version == row.version).values(claimed_until=until, error=error)
        )

    async def _keep(self, row: Row[Any]) -> None:
        while True:
            await asyncio.sleep(CLAIM.total_seconds() / 3)
            self._health.beat("builder")
            with contextlib.suppress(RetryableError):  # the next third is early enough
                await self._database.run(self._extend, row, self._clock.now() + CLAIM)

    async def _build(self, row: Row[Any]) -> bool:
        monitor = self._config.monitor(row.monitor)
        assert monitor is not None  # the claim asks for configured monitors only
        keep = asyncio.create_task(self._keep(row))
        try:
            objects = await self._objects_of(row)
            frozen = await asyncio.to_thread(self._frozen, monitor, objects, json.loads(row.source))
            adopted = await self._database.run(self._adopt, row, frozen)
        except (DriftsondeError, ValueError) as exc:
            log.error("baseline cannot be built yet", monitor=row.monitor, version=row.version, error=str(exc))
            await self._database.run(self._extend, row, self._clock.now() + _RETRY, str(exc))
            return False
        finally:
            keep.cancel()
        log.info("baseline built", monitor=row.monitor, version=row.version, rows=frozen.rows, adopted=adopted)
        return adopted

    async def _objects_of(self, row: Row[Any]) -> list[StoreSource]:
        """Return what the baseline is built from, pinned, in key order.

        Raises:
            GoneError: if there is nothing.
        """
        source, loop = json.loads(row.source), asyncio.get_running_loop()
        if "drops" in source:
            found = [DropRef.model_validate(drop) for drop in source["drops"]]
        else:
            bucket, prefix = split_s3(source["config"]["uri"])
            found = [DropRef(bucket=bucket, key=key, etag=info.etag) async for key, info in self._objects.list(bucket, prefix) if info.size]
        if not found:
            raise GoneError(f"there is no object to build the baseline from: {source.get('config', source)}")
        sources = []
        for drop in found:
            info = await self._objects.head(drop.bucket, drop.key, version=drop.version)
            sources.append(StoreSource(self._objects, loop, drop.bucket, drop.key, info.size, version=drop.version, etag=drop.etag))
        return sources

    def _frozen(self, monitor: Monitor, objects: Sequence[StoreSource], source: dict[str, Any]) -> FrozenBaseline:
        if len(objects) == 1 and objects[0].read(0, min(3, objects[0].size)) == b"DSK":
            return FrozenBaseline.from_bytes(objects[0].read(0, objects[0].size))

        def batches() -> Iterator[pa.RecordBatch]:
            for item in objects:
                yield from open_table(item, text=monitor.columns.categorical, form=monitor.format).batches()

        frozen, raised = build(batches, build_options(monitor, calibrate="config" in source))
        for threshold in raised:
            if threshold.capped:
                log.warning("column is too variable to monitor with this baseline", monitor=monitor.name, column=threshold.column)
        return frozen

    def _adopt(self, connection: Connection, row: Row[Any], frozen: FrozenBaseline) -> bool:
        """Put a baseline in force; open episodes end, because what they were measured against is no longer what is asked for.

        Returns:
            False if it is not wanted any more: another replica was faster, or a later version is in force.
        """
        self._database.lock(connection, f"evaluate:{row.monitor}")
        current = store.current_baseline(connection, row.monitor)
        if current is not None and row.model is not None and not frozen.windows:
            frozen = inherit_thresholds(frozen, load(connection, row.monitor, current))
        table, now = store.baseline, self._clock.now()
        mine = (table.c.monitor == row.monitor, table.c.version == row.version, table.c.state == "building")
        state = "adopted" if current is None or current < row.version else "superseded"
        values = {"state": state, "digest": frozen.digest, "rows": frozen.rows, "data": frozen.data, "error": None}
        if connection.execute(table.update().where(*mine).values(**values)).rowcount != 1 or state == "superseded":
            return False
        facts: list[BaselineAdopted | DriftResolved] = [
            BaselineAdopted(monitor=row.monitor, baseline=reference(connection, row.monitor, row.version))
        ]
        episodes = store.episode
        still_open = connection.execute(select(episodes).where(episodes.c.monitor == row.monitor, episodes.c.is_open)).all()
        for episode in still_open:
            facts.append(DriftResolved(monitor=row.monitor, episode=episode.number, sequence=2, kind=episode.kind, cause="rebaselined"))
            connection.execute(
                episodes.update().where(episodes.c.monitor == row.monitor, episodes.c.number == episode.number)
                .values(is_open=False, cause="rebaselined", closed_at=now)
            )  # fmt: skip
        self._outbox.add(connection, facts)
        return True


def inherit_thresholds(frozen: FrozenBaseline, before: FrozenBaseline) -> FrozenBaseline:
    """Carry back-tested thresholds over until the new baseline has enough windows of its own to learn them from."""
    columns = tuple(
        replace(column, thresholds=dict(before.by_name[column.name].thresholds)) if column.name in before.by_name else column
        for column in frozen.columns
    )
    return replace(frozen, columns=columns)
