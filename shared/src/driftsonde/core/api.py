"""The public surface: a baseline, sketches over it, a verdict. The services use the same objects.

    baseline = Baseline.build([batch_1, batch_2])
    sketch = baseline.sketch()
    sketch.update(todays_frame)
    verdict = judge(baseline, [yesterdays_sketch, sketch])

A batch is an Arrow record batch or table, anything with `__arrow_c_stream__` or `__arrow_c_array__` (pandas, polars, duckdb),
or a 2-d numpy array with `names`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby
from typing import Any, Self, cast
from weakref import WeakKeyDictionary

import numpy as np
import pyarrow as pa

from driftsonde.core.building import BuildOptions
from driftsonde.core.building import build as build_baseline
from driftsonde.core.counting import count_batch
from driftsonde.core.drift.backtest import Raised
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.verdict import ColumnVerdict, Judge, Verdict
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.codec import decode_table, encode_table
from driftsonde.core.sketch.table import TableSketch

__all__ = ["Baseline", "ColumnVerdict", "Parameters", "Raised", "Sketch", "Verdict", "judge", "to_batches"]

Batch = Any
"""An Arrow batch or table, an exporter of Arrow's C interface, or a 2-d numpy array."""


def to_batches(data: Batch, *, names: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Turn one batch of any supported kind into Arrow record batches, without copying where Arrow allows it.

    Args:
        data: see the module.
        names: column names; needed for numpy arrays of shape (rows, columns), not used for anything else.

    Raises:
        TypeError: for anything else.
        ValueError: for a numpy array that is not 2-d, or names that do not fit it.
    """
    if isinstance(data, pa.RecordBatch):
        yield data
    elif isinstance(data, np.ndarray):
        if data.ndim != 2 or names is None or len(names) != data.shape[1]:
            raise ValueError(f"a numpy batch needs shape (rows, columns) and a name for each column; got {data.shape} and names={names}")
        yield pa.RecordBatch.from_arrays([pa.array(np.ascontiguousarray(column)) for column in data.T], names=list(names))
    elif hasattr(data, "__arrow_c_stream__"):
        yield from pa.RecordBatchReader.from_stream(data)
    elif hasattr(data, "__arrow_c_array__"):
        yield pa.record_batch(data)
    else:
        raise TypeError(f"not a batch: {type(data).__name__}; expected Arrow, pandas, polars or a 2-d numpy array with names")


@dataclass(eq=False)
class Sketch:
    """Counts of a window over a baseline's bins.

    Updating in any split and any order gives the same bytes.
    """

    baseline: Baseline
    table: TableSketch

    @property
    def rows(self) -> int:
        """Rows counted so far."""
        return self.table.rows

    def update(self, batch: Batch, *, names: Sequence[str] | None = None) -> Self:
        """Count a batch; returns itself.

        Raises:
            TypeError, ValueError: as `to_batches`.
        """
        for part in to_batches(batch, names=names):
            self.table += count_batch(self.baseline, part)
        return self

    def merge(self, other: Sketch) -> Sketch:
        """Return the sketch of both streams.

        Raises:
            ValueError: if they belong to different baselines.
        """
        return Sketch(self.baseline, self.table + other.table)

    def to_bytes(self) -> bytes:
        """Return the sketch as bytes: versioned, checksummed, compressed."""
        return encode_table(self.table)


@dataclass(frozen=True, eq=False)
class Baseline(FrozenBaseline):
    """Frozen counts of accepted data."""

    @classmethod
    def build(
        cls, batches: Batch | Iterable[Batch] | Callable[[], Iterable[Batch]], *, names: Sequence[str] | None = None,
        bins: int = 256, max_categories: int = 30, only: Sequence[str] = (), ignore: Sequence[str] = (), categorical: Sequence[str] = (),
        backtest: int | tuple[str, timedelta] | None = None, parameters: Parameters | None = None,
    ) -> Self:  # fmt: skip
        """Build a baseline in two passes over the data, in bounded memory.

        Args:
            batches: one batch, a list of batches, an iterator (it is spooled to a temporary file) or a function that returns the
                same batches each time it is called.
            names: column names of numpy batches.
            bins: equal masses that a numeric column is cut into.
            max_categories: levels that are tracked one by one.
            only: columns to watch; empty means all.
            ignore: columns not to watch.
            categorical: numbers that are names.
            backtest: calibrate thresholds on the baseline's own windows: how many, or (time column, length of a window).
            parameters: the policy that the back-test follows.

        Raises:
            ValueError: for fewer than 200 rows, unknown columns, or a back-test of fewer than 30 windows.
        """
        options = BuildOptions(bins, max_categories, tuple(only), tuple(ignore), tuple(categorical), backtest, parameters or Parameters())
        with _repeatable(batches, names) as source:
            built, _ = build_baseline(source, options)
        return cls.of(built)

    @classmethod
    def of(cls, frozen: FrozenBaseline) -> Self:
        """Give a decoded baseline this surface."""
        return cls(frozen.columns, frozen.rows, frozen.untested, frozen.windows, frozen.repeated)

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read back `baseline.data`.

        Raises:
            SketchError: if the bytes are damaged or not a baseline.
        """
        return cls.of(FrozenBaseline.from_bytes(data))

    def sketch(self, data: bytes | None = None) -> Sketch:
        """Return an empty sketch, or the one that `to_bytes` wrote.

        Raises:
            SketchError: if the bytes are damaged, or belong to another baseline.
        """
        return Sketch(self, self.empty_sketch() if data is None else decode_table(data, self.layout))


def judge(baseline: Baseline, windows: Sequence[Sketch] | Sketch, parameters: Parameters | None = None) -> Verdict:
    """Judge the last window, with those before it as its look-back.

    Args:
        baseline: what to compare with.
        windows: oldest first; untrusted windows of the past should be left out.
        parameters: the policy; default: the documented one.

    Raises:
        ValueError: if there is no window, or one belongs to another baseline.
    """
    given = [windows] if isinstance(windows, Sketch) else list(windows)
    if any(window.table.layout.baseline != baseline.digest for window in given):
        raise ValueError("a window belongs to another baseline")
    return _judge_of(baseline, parameters or Parameters()).window([window.table for window in given])


_judges: WeakKeyDictionary[Baseline, Judge] = WeakKeyDictionary()


def _judge_of(baseline: Baseline, parameters: Parameters) -> Judge:
    """Return the judge that was used last for a baseline, if it follows the same policy: making one costs more than judging."""
    known = _judges.get(baseline)
    if known is None or known.parameters != parameters:
        known = _judges[baseline] = Judge(baseline.columns, parameters)
    return known


class _repeatable:  # noqa: N801  # reads as the context it is
    """Gives batches as often as asked; spools what can be read only once."""

    def __init__(self, batches: Any, names: Sequence[str] | None) -> None:
        self._batches, self._names = batches, names
        self._spool: Any = None

    def __enter__(self) -> Callable[[], Iterator[pa.RecordBatch]]:
        batches = self._batches
        if callable(batches):
            return lambda: self._flatten(cast("Iterable[Any]", batches()))
        if isinstance(batches, pa.RecordBatch | np.ndarray) or hasattr(batches, "__arrow_c_stream__"):
            if not isinstance(batches, pa.RecordBatchReader):
                return lambda: to_batches(batches, names=self._names)
        elif iter(batches) is not batches:
            return lambda: self._flatten(batches)
        return self._spooled(self._flatten(batches))

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def _flatten(self, batches: Iterable[Any]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from to_batches(batch, names=self._names)

    def _spooled(self, batches: Iterator[pa.RecordBatch]) -> Callable[[], Iterator[pa.RecordBatch]]:
        self._spool = tempfile.TemporaryFile(prefix="driftsonde-")  # noqa: SIM115  # closed by __exit__
        # One stream for each run of equal schemas: of two frames one may hold integers where the other has nulls.
        for schema, run in groupby(batches, key=lambda batch: batch.schema):
            with pa.ipc.new_stream(self._spool, schema) as writer:
                for batch in run:
                    writer.write_batch(batch)
        end = self._spool.tell()

        def read() -> Iterator[pa.RecordBatch]:
            self._spool.seek(0)
            while self._spool.tell() < end:
                yield from pa.ipc.open_stream(self._spool)

        return read
