"""Reads from S3 what a strategy wants to know. Every label object is counted once for each version of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from driftsonde.core.errors import ConfigError, GoneError
from driftsonde.core.log import get_logger
from driftsonde.core.names import split_s3
from driftsonde.core.ports import ObjectInfo, ObjectStore
from driftsonde.core.store.engine import Database
from driftsonde.retrainer.deploy import tables
from driftsonde.retrainer.deploy.evidence import Captures, Comparison, Rewards, rewards
from driftsonde.retrainer.deploy.shadow import SHADOW

log = get_logger(__name__)

MAX_OBJECT = 64 << 20
"""Bytes of one object that are read at most; a larger one is left out, and said so."""
MAX_CAPTURED = 256 << 20
"""Bytes of captures that one judgement reads at most."""


class Gatherer:
    """Reads labels and captures."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    async def rewards(self, plan_id: str, uri: str, field: str) -> Rewards:
        """Count label objects that are new or were replaced, and return the totals of all.

        Raises:
            RetryableError: if S3 is away; what was counted before stays counted.
        """
        known = await self._database.look(tables.counted, plan_id)
        async for bucket, key, info in self._listing(uri):
            if known.get(key) == info.etag:
                continue
            body = await self._read(bucket, key, info)
            if body is not None:
                await self._database.run(tables.count, self._database, plan_id, key, info.etag, rewards(body.splitlines(), field))
        return await self._database.look(tables.totals, plan_id)

    async def captures(self, uri: str, endpoint: str, *, before: datetime, tolerance: float) -> Captures:
        """Compare what was captured of an endpoint's production variant and its shadow, up to a time.

        Raises:
            RetryableError: if S3 is away.
        """
        comparison, read = Comparison(before, tolerance), 0
        async for bucket, key, info in self._listing(f"{uri}/{endpoint}/"):
            read += info.size
            if read > MAX_CAPTURED:
                log.warning("only a part of the captures is compared", endpoint=endpoint, bytes=MAX_CAPTURED)
                break
            body = await self._read(bucket, key, info)
            shadow = key.removeprefix(split_s3(f"{uri}/{endpoint}/")[1]).partition("/")[0] == SHADOW
            for line in (body or b"").splitlines():
                comparison.add(line, shadow=shadow)
        return comparison.result()

    async def _listing(self, uri: str) -> AsyncIterator[tuple[str, str, ObjectInfo]]:
        bucket, prefix = split_s3(uri)
        try:
            async for key, info in self._objects.list(bucket, prefix):
                yield bucket, key, info
        except GoneError as exc:
            raise ConfigError(f"{uri} cannot be listed: {exc}") from exc

    async def _read(self, bucket: str, key: str, info: ObjectInfo) -> bytes | None:
        """Return an object as it was listed; None if it is empty, too large, or no longer so: the next round sees what it became."""
        if info.size > MAX_OBJECT:
            log.warning("object is too large and left out", uri=f"s3://{bucket}/{key}", bytes=info.size)
        if not 0 < info.size <= MAX_OBJECT:
            return None
        try:
            return await self._objects.read(bucket, key, 0, info.size, etag=info.etag)
        except GoneError:
            return None
