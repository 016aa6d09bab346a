"""Baselines: built once under a lease, frozen, versioned, and adopted for windows that have no part yet."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy import Connection, Row, func, or_, select

from driftsonde.core.building import build
from driftsonde.core.config import Config, Monitor
from driftsonde.core.errors import DriftsondeError, GoneError, RetryableError
from driftsonde.core.events import BaselineAdopted, DriftResolved, DropRef, ModelPromoted
from driftsonde.core.lifecycle import Health, wait_or_stop
from driftsonde.core.log import get_logger
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.names import split_s3
from driftsonde.core.ports import Clock, ObjectStore
from driftsonde.core.readers import Limits, StoreSource, open_table
from driftsonde.core.store.engine import Database
from driftsonde.core.store.outbox import Outbox
from driftsonde.detector import store
from driftsonde.detector.attempts import Attempts
from driftsonde.detector.baselines import load, reference
from driftsonde.detector.learning import Asked, Unlearnable, as_drop, batches_of, choose, killers, mark_learned, pass_over, wanted
from driftsonde.detector.metrics import DetectorMetrics
from driftsonde.detector.policy import build_options

log = get_logger(__name__)

CLAIM = timedelta(seconds=30)  # after a crash, this long until another takes the build over
_RETRY = timedelta(seconds=15)
_POLL_SECONDS = 2.0


class _Claimed(NamedTuple):
    """A row that is being built; `source` as it is stored, `died` whether whoever built it before did."""

    monitor: str
    version: int
    source: str
    model: str | None
    died: bool = False


class Builder:
    """Builds what is asked for, one at a time, and adopts it."""

    def __init__(
        self, database: Database, outbox: Outbox, objects: ObjectStore, config: Config, metrics: DetectorMetrics, clock: Clock,
        health: Health, limits: Limits,
    ) -> None:  # fmt: skip
        self._database, self._outbox, self._objects = database, outbox, objects
        self._config, self._metrics, self._clock, self._health, self._limits = config, metrics, clock, health, limits
        self._attempts = Attempts(database, clock)

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
        """Ask for the baseline of what a new champion was trained on, unless the monitor keeps its own."""
        monitor = self._config.monitor(promoted.monitor)
        if monitor is not None and monitor.retrain is not None and not monitor.retrain.rebaseline:
            return
        drops = [drop.model_dump(exclude_none=True) for drop in promoted.drops]
        self._database.lock(connection, f"baseline:{promoted.monitor}")
        self._insert(connection, promoted.monitor, json.dumps({"drops": drops}), promoted.model)

    def _request_configured(self, connection: Connection) -> None:
        """Ask for every configured baseline that was not built; an adopted one wins until the configured value changes."""
        table = store.baseline
        for monitor in self._config.monitors:
            self._database.lock(connection, f"baseline:{monitor.name}")
            asked = {
                "config": monitor.baseline.model_dump(mode="json", exclude_none=True),
                "columns": monitor.columns.model_dump(mode="json"),
            }
            mine = (table.c.monitor == monitor.name, table.c.model.is_(None))
            latest = connection.scalars(select(table.c.source).where(*mine).order_by(table.c.version.desc()).limit(1)).first()
            if latest is not None and _same(json.loads(latest), asked):
                continue
            if monitor.baseline.learn is not None and store.current_baseline(connection, monitor.name) is not None:
                continue  # drops are judged, none waits to be learned from: what is in force stays
            connection.execute(table.update().where(*mine, table.c.state == "building").values(state="superseded"))
            self._insert(connection, monitor.name, json.dumps(asked), None)

    def _insert(self, connection: Connection, monitor: str, source: str, model: str | None) -> None:
        table = store.baseline
        newest = connection.scalar(select(func.max(table.c.version)).where(table.c.monitor == monitor)) or 0
        connection.execute(
            table.insert().values(
                monitor=monitor, version=newest + 1, state="building", source=source, model=model, rows=0, created_at=self._clock.now()
            )
        )

    def _claim(self, connection: Connection) -> _Claimed | None:
        table, now = store.baseline, self._clock.now()
        # A claim that lasts longer than any does is one of a clock that has gone back since.
        free = or_(table.c.claimed_until.is_(None), table.c.claimed_until < now, table.c.claimed_until > now + 2 * CLAIM)
        names = [monitor.name for monitor in self._config.monitors]
        building = select(table).where(table.c.state == "building", free, table.c.monitor.in_(names)).order_by(table.c.created_at)
        for row in connection.execute(building if self._database.is_sqlite else building.with_for_update(skip_locked=True)).all():
            asked = json.loads(row.source)
            chosen = choose(connection, row.monitor, asked)
            if chosen is not None:
                source = row.source if chosen is asked else json.dumps(chosen)
                self._change(connection, row, source=source, claimed_until=now + CLAIM, error=None)
                # A claim is ended by an error or given back; what only ran out was a death.
                return _Claimed(row.monitor, row.version, source, row.model, died=row.claimed_until is not None and row.error is None)
        return None

    def _change(self, connection: Connection, row: Row[Any] | _Claimed, /, **values: Any) -> None:
        table = store.baseline
        connection.execute(table.update().where(table.c.monitor == row.monitor, table.c.version == row.version).values(**values))

    async def _keep(self, row: _Claimed) -> None:
        while True:
            await asyncio.sleep(CLAIM.total_seconds() / 3)
            self._health.beat("builder")
            with contextlib.suppress(RetryableError):  # the next third is early enough
                await self._database.run(self._change, row, claimed_until=self._clock.now() + CLAIM)

    async def _build(self, row: _Claimed) -> bool:
        monitor = self._config.monitor(row.monitor)
        assert monitor is not None  # the claim asks for configured monitors only
        asked = json.loads(row.source)
        keep = asyncio.create_task(self._keep(row))
        try:
            objects = await self._objects_of(asked)
            alone = row.died and bool(wanted(asked))
            if alone and (deadly := await self._database.look(killers, [drop for drop, _ in objects])):
                raise Unlearnable(deadly, f"a process died while it read {deadly[0].uri}")
            loop = asyncio.get_running_loop() if alone else None
            frozen = await asyncio.to_thread(self._frozen, monitor, objects, asked, loop)
            learned = await self._database.run(self._adopt, row, frozen)
        except Unlearnable as exc:
            log.warning("drop cannot be learned from; the next one takes its place", monitor=row.monitor, error=str(exc))
            await self._database.run(self._choose_anew, row, pass_over(asked, exc.drops))
            return False
        except (DriftsondeError, ValueError) as exc:
            log.error("baseline cannot be built yet", monitor=row.monitor, version=row.version, error=str(exc))
            await self._database.run(self._change, row, claimed_until=self._clock.now() + _RETRY, error=str(exc))
            return False
        finally:
            keep.cancel()
        for _ in range(learned or 0):
            self._metrics.count("learned")
        log.info("baseline built", monitor=row.monitor, version=row.version, rows=frozen.rows, adopted=learned is not None)
        return learned is not None

    def _choose_anew(self, connection: Connection, row: _Claimed, asked: Asked) -> None:
        """Give a claim back, with what is to be chosen from now on; unless another replica did so since."""
        table = store.baseline
        mine = (table.c.monitor == row.monitor, table.c.version == row.version, table.c.source == row.source)
        connection.execute(table.update().where(*mine).values(source=json.dumps(asked), claimed_until=None, error=None))

    async def _objects_of(self, asked: Asked) -> list[tuple[DropRef, StoreSource]]:
        """Return what the baseline is built from, pinned: by key, or as it was chosen.

        Raises:
            GoneError: if there is nothing.
            Unlearnable: if drops to learn from are not there.
        """
        loop = asyncio.get_running_loop()
        if "drops" in asked:
            found = [DropRef.model_validate(drop) for drop in asked["drops"]]
        else:
            bucket, prefix = split_s3(asked["config"]["uri"])
            found = [DropRef(bucket=bucket, key=key, etag=info.etag) async for key, info in self._objects.list(bucket, prefix) if info.size]
        if not found:
            raise GoneError(f"there is no object to build the baseline from: {asked.get('config', asked)}")
        sources, missing = [], []
        for drop in found:
            try:
                info = await self._objects.head(drop.bucket, drop.key, version=drop.version)
            except GoneError:
                if not wanted(asked):
                    raise
                missing.append(drop)
                continue
            pin = drop.etag or (info.etag if wanted(asked) else None)
            source = StoreSource(self._objects, loop, drop.bucket, drop.key, info.size, version=drop.version, etag=pin)
            sources.append((drop, source))
        if missing:
            raise Unlearnable(missing, f"{len(missing)} drops are gone, e.g. {missing[0].uri}")
        return sources

    def _frozen(
        self, monitor: Monitor, objects: Sequence[tuple[DropRef, StoreSource]], asked: Asked, noting: asyncio.AbstractEventLoop | None
    ) -> FrozenBaseline:
        """Build, in a worker thread; `noting`: by this loop store which drop is being read, as one of them may kill the process."""
        learned, (_, first) = bool(wanted(asked)), objects[0]
        if not learned and len(objects) == 1 and first.read(0, min(3, first.size)) == b"DSK":
            return FrozenBaseline.from_bytes(first.read(0, first.size))

        def batches() -> Iterator[pa.RecordBatch]:
            for drop, source in objects:
                if learned:
                    with self._noted(drop, noting) if noting else contextlib.nullcontext():
                        yield from batches_of(monitor, drop, source, self._limits)
                else:
                    yield from open_table(source, text=monitor.columns.categorical, form=monitor.format).batches()

        frozen, raised = build(batches, build_options(monitor, calibrate="config" in asked))
        for threshold in raised:
            if threshold.capped:
                log.warning("column is too variable to monitor with this baseline", monitor=monitor.name, column=threshold.column)
        return frozen

    @contextlib.contextmanager
    def _noted(self, drop: DropRef, loop: asyncio.AbstractEventLoop) -> Iterator[None]:
        """Keep an attempt stored while a drop is read."""
        attempt = as_drop(drop)
        asyncio.run_coroutine_threadsafe(self._database.run(self._attempts.begin, attempt, 1), loop).result()
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(self._database.run(self._attempts.end, attempt), loop).result()

    def _adopt(self, connection: Connection, row: _Claimed, frozen: FrozenBaseline) -> int | None:
        """Put a baseline in force; open episodes end, because what they were measured against is no longer what is asked for.

        Returns:
            How many drops are part of it and not judged; None if it is not wanted any more: another replica was faster or chose
            other drops, or a later version is in force.
        """
        self._database.lock(connection, f"evaluate:{row.monitor}")
        current = store.current_baseline(connection, row.monitor)
        if current is not None and row.model is not None and not frozen.windows:
            frozen = inherit_thresholds(frozen, load(connection, row.monitor, current))
        table, now = store.baseline, self._clock.now()
        building = (table.c.monitor == row.monitor, table.c.state == "building")
        state = "adopted" if current is None or current < row.version else "superseded"
        values = {"state": state, "digest": frozen.digest, "rows": frozen.rows, "data": frozen.data, "error": None}
        mine = table.update().where(*building, table.c.version == row.version, table.c.source == row.source)
        if connection.execute(mine.values(**values)).rowcount != 1 or state == "superseded":
            return None
        # Drops that an earlier version waits for will not come: from now on they are judged.
        connection.execute(table.update().where(*building, table.c.version < row.version).values(state="superseded"))
        asked = json.loads(row.source)
        learned = mark_learned(connection, row.monitor, asked, now) if wanted(asked) else 0
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
        return learned


def _same(stored: Asked, asked: Asked) -> bool:
    """Whether a stored row was asked for by the same configuration; a key that is null is one that is not there."""
    return all(
        {key: value for key, value in stored[part].items() if value is not None}
        == {key: value for key, value in asked[part].items() if value is not None}
        for part in ("config", "columns")
    )


def inherit_thresholds(frozen: FrozenBaseline, before: FrozenBaseline) -> FrozenBaseline:
    """Carry back-tested thresholds over until the new baseline has enough windows of its own to learn them from."""
    columns = tuple(
        replace(column, thresholds=dict(before.by_name[column.name].thresholds)) if column.name in before.by_name else column
        for column in frozen.columns
    )
    return replace(frozen, columns=columns)
