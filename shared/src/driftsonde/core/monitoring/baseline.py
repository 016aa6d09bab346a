"""The frozen baseline: what accepted data looks like, addressed by the digest of its bytes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.codec import Reader, SketchError, Writer
from driftsonde.core.sketch.column import ColumnBaseline, Kind
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import Layout, TableSketch

_KEY_COLUMNS = 2
_KINDS: tuple[Kind, ...] = ("numeric", "categorical", "empty")


@dataclass(frozen=True, eq=False)
class FrozenBaseline:
    """Columns with their bins and counts. Immutable; two with equal content have equal digests.

    Args:
        columns: what is watched, in the data's order.
        rows: rows that it was built from.
        untested: columns that are not tested, by name, with the reason.
        windows: how many windows its thresholds were back-tested on; 0 means not calibrated.
        repeated: share of the distinct rows that are there more than once.
    """

    columns: tuple[ColumnBaseline, ...]
    rows: int
    untested: dict[str, str] = field(default_factory=dict)
    windows: int = 0
    repeated: float = 0.0

    @cached_property
    def data(self) -> bytes:
        """The baseline as bytes."""
        return _write(self).finish()

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content, hexadecimal; it does not depend on how the bytes are compressed."""
        return hashlib.sha256(_write(self).payload).hexdigest()

    @cached_property
    def by_name(self) -> dict[str, ColumnBaseline]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @cached_property
    def key_columns(self) -> tuple[str, ...]:
        """The few columns that tell rows apart best: those with the most bins."""
        ranked = sorted(self.columns, key=lambda column: (-column.size, column.name))
        return tuple(column.name for column in ranked[:_KEY_COLUMNS])

    @cached_property
    def layout(self) -> Layout:
        """Where each column's counts lie in a sketch over these bins."""
        return Layout(self.digest, {column.name: column.size for column in self.columns})

    def empty_sketch(self) -> TableSketch:
        """Return a sketch over these bins with nothing in it."""
        return TableSketch.empty(self.layout)

    @classmethod
    def from_bytes(cls, data: bytes) -> FrozenBaseline:
        """Read back `data`.

        Raises:
            SketchError: if the bytes are not a baseline of this version, or are damaged.
        """
        return _read(data)


def _write(baseline: FrozenBaseline) -> Writer:
    out = Writer()
    out.text("baseline")
    out.integer(baseline.rows)
    out.integer(baseline.windows)
    out.floats(np.array([baseline.repeated]))
    out.texts([text for name in sorted(baseline.untested) for text in (name, baseline.untested[name])])
    out.integer(len(baseline.columns))
    for column in baseline.columns:
        _write_column(out, column)
    return out


def _write_column(out: Writer, column: ColumnBaseline) -> None:
    out.text(column.name)
    out.integer(_KINDS.index(column.kind))
    out.integer(column.sketch.nulls)
    out.integer(column.sketch.invalid)
    out.counts(column.sketch.counts)
    out.integer(column.singletons)
    raised = sorted(column.thresholds)
    out.texts(raised)
    out.floats(np.array([column.thresholds[name] for name in raised], dtype=np.float64))
    if isinstance(column.bins, NumericBins):
        out.floats(column.bins.edges)
    elif isinstance(column.bins, Levels):
        out.integer(int(column.bins.complete))
        out.texts(column.bins.tracked)
        out.texts(sorted(column.bins.others))


def _read(data: bytes) -> FrozenBaseline:
    source = Reader(data)
    if source.text() != "baseline":
        raise SketchError("not a baseline")
    rows, windows, repeated, untested = source.integer(), source.integer(), source.floats(), source.texts()
    columns = tuple(_read_column(source) for _ in range(source.integer()))
    source.finish()
    if repeated.shape != (1,) or not 0 <= repeated[0] <= 1:
        raise SketchError("baseline does not say how often its rows repeat")
    if len(untested) % 2:
        raise SketchError("baseline has an untested column without a reason")
    return FrozenBaseline(columns, rows, dict(zip(untested[::2], untested[1::2], strict=True)), windows, float(repeated[0]))


def _read_column(source: Reader) -> ColumnBaseline:
    name, kind_index = source.text(), source.integer()
    if kind_index >= len(_KINDS):
        raise SketchError("baseline has a column of unknown kind")
    kind = _KINDS[kind_index]
    sketch = ColumnSketch(nulls=source.integer(), invalid=source.integer(), counts=source.counts())
    singletons = source.integer()
    raised, values = source.texts(), source.floats().tolist()
    if len(raised) != len(values):
        raise SketchError(f"baseline column {name!r} has thresholds without values")
    bins = _read_bins(source, kind)
    if len(sketch.counts) != (bins.size if bins else 1):
        raise SketchError(f"baseline column {name!r} has counts for other bins than its own")
    return ColumnBaseline(name, kind, bins, sketch, singletons, dict(zip(raised, values, strict=True)))


def _read_bins(source: Reader, kind: Kind) -> NumericBins | Levels | None:
    if kind == "numeric":
        try:
            return NumericBins(source.floats())
        except ValueError as exc:
            raise SketchError(str(exc)) from exc
    if kind == "categorical":
        complete, tracked, others = source.integer(), source.texts(), source.texts()
        return Levels(tuple(tracked), frozenset(others), bool(complete))
    return None
