"""What a model is trained on: chosen once for each try, pinned by version, and written down so that it can be repeated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from driftsonde.core.config import EpisodeData, FixedData, RecentData, Recipe
from driftsonde.core.errors import ConfigError, GoneError
from driftsonde.core.events import DropRef
from driftsonde.core.names import covers, is_glob, split_s3
from driftsonde.core.ports import Clock, ObjectInfo, ObjectStore
from driftsonde.core.store.engine import Database
from driftsonde.retrainer import store
from driftsonde.retrainer.plans import PlanView
from driftsonde.retrainer.requests import Layout

_AT_ONCE: Final = 20
_MOST_LABELS: Final = 10_000  # objects

Manifest = dict[str, Any]


class Manifests:
    """Writes and reads the manifests of plans."""

    def __init__(self, database: Database, objects: ObjectStore, clock: Clock) -> None:
        self._database, self._objects, self._clock = database, objects, clock

    async def write(self, plan: PlanView, attempt: int, encoding: str | None) -> None:
        """Write what the prepare step works from. What was written before stays: a repeat must not change a job that runs.

        Args:
            encoding: address of the champion's encoding.

        Raises:
            ConfigError: if there is no label column for the jobs, or nothing to train on.
        """
        label = plan.monitor.columns.label
        if label is None and plan.recipe.run is None:  # what a pipeline predicts is its own affair
            raise ConfigError(f"monitors.{plan.row.monitor}.columns.label: not set; training needs to know what to predict")
        bucket, key = split_s3(Layout.of(plan.recipe, plan.row.monitor, plan.row.episode).manifest(attempt))
        try:
            await self._objects.head(bucket, key)
        except GoneError:
            body = json.dumps(await self._manifest(plan, label, encoding), sort_keys=True)
            await self._objects.write(bucket, key, body.encode())

    async def drops(self, plan: PlanView, attempt: int) -> tuple[DropRef, ...]:
        """Return what was trained on, oldest first."""
        manifest = json.loads(await self._read(Layout.of(plan.recipe, plan.row.monitor, plan.row.episode).manifest(attempt)))
        return tuple(DropRef.model_validate(drop) for drop in manifest["drops"])

    async def _manifest(self, plan: PlanView, label: str | None, encoding: str | None) -> Manifest:
        columns, recipe = plan.monitor.columns, plan.recipe
        drops = await self._selected(plan)
        if not drops:
            raise ConfigError(f"recipes.{plan.monitor.retrain.recipe if plan.monitor.retrain else ''}.data: there is no drop to train on")
        return {
            "monitor": plan.row.monitor, "episode": plan.row.episode, "drops": _dumped(drops),
            "reference": _dumped(await self._reference(plan)) if recipe.data.reference else [],
            "score": _dumped(plan.drift.drops[-1:] or drops[-1:]), "format": plan.monitor.format,
            "label": label, "labels": await self._labels(recipe), "only": columns.only, "keep": recipe.batch.keep,
            "ignore": [*columns.ignore, *([columns.prediction] if columns.prediction else [])],
            "categorical": columns.categorical, "encoding": json.loads(await self._read(encoding)) if encoding else None,
            "owners": dict(plan.owners),
        }  # fmt: skip

    async def _selected(self, plan: PlanView) -> Sequence[DropRef]:
        data = plan.recipe.data
        if isinstance(data, EpisodeData):
            return plan.drift.drops[-data.most :]
        if isinstance(data, FixedData):
            return await self._under(data.uri, None, data.most)
        if isinstance(data, RecentData):
            return await self._under(plan.monitor.drops, self._clock.now() - data.last, data.most)
        since = await self._database.look(store.training_before, plan.row.monitor, plan.row.id)
        return await self._under(plan.monitor.drops, since, data.most) if since else plan.drift.drops[-data.most :]

    async def _reference(self, plan: PlanView) -> Sequence[DropRef]:
        uri = plan.monitor.baseline.uri
        if uri is None:
            raise ConfigError(
                f"monitors.{plan.row.monitor}.baseline: is learnt from drops; data.reference needs an address to read it from"
            )
        return await self._under(uri, None, plan.recipe.data.most)

    async def _labels(self, recipe: Recipe) -> Manifest | None:
        source = recipe.data.labels
        if source is None:
            return None
        return {"key": source.key, "format": source.format, "objects": _dumped(await self._under(source.uri, None, _MOST_LABELS))}

    async def _under(self, uri: str, since: datetime | None, most: int) -> Sequence[DropRef]:
        """Return the latest objects that a prefix or glob means, oldest first, each pinned to the version that is there now."""
        bucket, pattern = split_s3(uri)
        prefix = pattern[: min(pattern.find(mark) for mark in "*?[" if mark in pattern)] if is_glob(pattern) else pattern
        found = [
            (info.modified, key)
            async for key, info in self._objects.list(bucket, prefix)
            if info.size and covers(uri, bucket, key) and (since is None or info.modified > since)
        ]
        latest = sorted(found)[-most:]
        pinned: list[DropRef] = []
        for begin in range(0, len(latest), _AT_ONCE):
            keys = [key for _, key in latest[begin : begin + _AT_ONCE]]
            heads = await asyncio.gather(*(self._head(bucket, key) for key in keys))
            pinned += [
                DropRef(bucket=bucket, key=key, version=info.version, etag=info.etag)
                for key, info in zip(keys, heads, strict=True)
                if info is not None
            ]
        return pinned

    async def _head(self, bucket: str, key: str) -> ObjectInfo | None:
        try:
            return await self._objects.head(bucket, key)
        except GoneError:  # since it was listed
            return None

    async def _read(self, uri: str) -> bytes:
        bucket, key = split_s3(uri)
        info = await self._objects.head(bucket, key)
        return await self._objects.read(bucket, key, 0, info.size, etag=info.etag)


def _dumped(drops: Sequence[DropRef]) -> list[Manifest]:
    return [drop.model_dump(exclude_none=True) for drop in drops]
