"""Spark as an engine: a run is a row of a data frame, and `mapInArrow` turns it into bytes wherever Spark has room.

Objects are read by driftsonde's own readers, not by Spark's: what counts as missing or invalid must not depend on the engine.
Only the package itself has to be where the workers are.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import pyarrow as pa

from driftsonde.core.errors import ConfigError
from driftsonde.core.places import places
from driftsonde.core.scale.runs import Run, Work, attempt, finished

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_GIVEN = "place int, run string"
_RETURNED = "place int, worker string, error string, data binary"
_SCHEMA = pa.schema([("place", pa.int32()), ("worker", pa.string()), ("error", pa.string()), ("data", pa.binary())])


class Spark:
    """A Spark session's executors.

    Args:
        session: the session.
        owners: the account that must own a bucket, by bucket.

    Attributes:
        workers: the processes that did some of the work, as host:pid.
    """

    def __init__(self, session: SparkSession, owners: Mapping[str, str] | None = None) -> None:
        self._session, self._owners = session, dict(owners or {})
        self.slots = session.sparkContext.defaultParallelism
        self.workers: set[str] = set()

    def map(self, work: Work, runs: Sequence[Run]) -> list[bytes]:
        """Do the work wherever there is room; one Spark task for each run."""
        given = self._session.sparkContext.parallelize([(place, run.encode()) for place, run in enumerate(runs)], len(runs))
        frame = self._session.createDataFrame(given, _GIVEN).mapInArrow(_worker(work, self._owners), _RETURNED)
        found: dict[int, tuple[bytes, str]] = {}
        for row in frame.collect():
            found[row.place] = bytes(row.data), row.error
            self.workers.add(row.worker)
        return [finished(found[place]) for place in range(len(runs))]


def _worker(work: Work, owners: Mapping[str, str]) -> Callable[[Iterable[pa.RecordBatch]], Iterator[pa.RecordBatch]]:
    return partial(_do, work, owners)


def _do(work: Work, owners: Mapping[str, str], batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Do the work on a partition's runs; runs in a worker process."""
    me = f"{socket.gethostname()}:{os.getpid()}"
    with places(owners) as opened:
        for batch in batches:
            for row in batch.to_pylist():
                data, error = attempt(work, Run.decode(row["run"]), opened)
                yield pa.RecordBatch.from_pylist([{"place": row["place"], "worker": me, "error": error, "data": data}], _SCHEMA)


def session() -> SparkSession:
    """Return the session that `spark-submit` configured, or a local one.

    Raises:
        ConfigError: if PySpark is not installed.
    """
    try:
        from pyspark.sql import SparkSession
    except ImportError as exc:
        raise ConfigError(f"--engine spark needs PySpark ({exc}): pip install 'driftsonde-core[tables,spark]', and Java 17") from exc
    return SparkSession.builder.appName("driftsonde").getOrCreate()
