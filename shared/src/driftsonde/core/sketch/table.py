"""What one drop, one window or a whole baseline amounts to: one vector of integer counts, so that merging is addition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.sketch.counts import ColumnSketch, Counts
from driftsonde.core.sketch.rows import RowSample, merge_samples

_SAMPLES = 64  # are merged at once: one by one takes longer, and all at last more memory


@dataclass(frozen=True, eq=False)
class Layout:
    """Where each column's counts lie in a table's one vector.

    Args:
        baseline: digest of the baseline whose bins these are.
        sizes: bins or levels of each watched column, by name, in the baseline's order.
    """

    baseline: str
    sizes: Mapping[str, int]

    @cached_property
    def places(self) -> dict[str, int]:
        """Each column's place among the columns, by name."""
        return {name: place for place, name in enumerate(self.sizes)}

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """Shape (columns + 1,), where each column's counts begin; the last is where they all end."""
        return np.concatenate([[0], np.cumsum(list(self.sizes.values()), dtype=np.intp)]).astype(np.intp)

    @property
    def width(self) -> int:
        """Counts of a table."""
        return int(self.starts[-1])

    def slots(self, name: str) -> slice:
        """Return where a column's counts lie."""
        place = self.places[name]
        return slice(int(self.starts[place]), int(self.starts[place + 1]))


@dataclass(slots=True, eq=False)
class TableSketch:
    """Counts of all watched columns over the bins of one baseline.

    Args:
        layout: where each column's counts lie.
        rows: rows read.
        bad_rows: rows that could not be parsed at all (and are in no column).
        unreadable: drops that could not be read.
        counts: shape (layout.width,), valid values by bin or level.
        nulls: shape (columns,), missing values.
        invalid: shape (columns,), values that are not what the column holds.
        new: columns that the baseline does not know.
    """

    layout: Layout
    rows: int
    bad_rows: int
    unreadable: int
    counts: Counts
    nulls: Counts
    invalid: Counts
    new: frozenset[str] = frozenset()
    _samples: list[RowSample] = field(default_factory=lambda: [RowSample()])
    _seen: Counts | None = None

    @classmethod
    def empty(cls, layout: Layout) -> TableSketch:
        """Return a sketch with nothing in it."""
        nulls, invalid = np.zeros((2, len(layout.sizes)), dtype=np.int64)
        return cls(layout, 0, 0, 0, np.zeros(layout.width, dtype=np.int64), nulls, invalid)

    @property
    def valid(self) -> Counts:
        """Shape (columns,), values that were counted into a bin."""
        return np.add.reduceat(self.counts, self.layout.starts[:-1]) if len(self.nulls) else self.nulls

    @property
    def seen(self) -> Counts:
        """Shape (columns,), rows in which a column was present. Kept until something is added: look-backs ask for it again and again."""
        if self._seen is None:
            self._seen = self.valid + self.nulls + self.invalid
        return self._seen

    @property
    def columns(self) -> dict[str, ColumnSketch]:
        """The columns that were in some row, by name."""
        found = {name: self.column(name) for name in self.layout.sizes}
        return {name: column for name, column in found.items() if column.rows}

    @property
    def sample(self) -> RowSample:
        """Some of the distinct rows. Merged when it is asked for: of a look-back nobody does, but of its last window."""
        if len(self._samples) > 1:
            self._samples = [merge_samples(self._samples)]
        return self._samples[0]

    def add_rows(self, sample: RowSample) -> None:
        """Fold in which rows there are."""
        self._samples.append(sample)
        if len(self._samples) > _SAMPLES:
            self._samples = [self.sample]

    def column(self, name: str) -> ColumnSketch:
        """Return one column's counts; they are a view, not a copy."""
        place = self.layout.places[name]
        return ColumnSketch(self.counts[self.layout.slots(name)], int(self.nulls[place]), int(self.invalid[place]))

    def add(self, name: str, column: ColumnSketch) -> None:
        """Fold a column's counts in.

        Raises:
            KeyError: if the baseline has no such column.
            ValueError: if it has other bins.
        """
        place, slots = self.layout.places[name], self.layout.slots(name)
        if len(column.counts) != slots.stop - slots.start:
            raise ValueError("sketches have different bins")
        self.counts[slots] += column.counts
        self.nulls[place] += column.nulls
        self.invalid[place] += column.invalid
        self._seen = None

    def __iadd__(self, other: TableSketch) -> TableSketch:
        """Merge the other in.

        Raises:
            ValueError: if the two belong to different baselines.
        """
        if self.layout.baseline != other.layout.baseline:
            raise ValueError("sketches belong to different baselines")
        self.rows += other.rows
        self.bad_rows += other.bad_rows
        self.unreadable += other.unreadable
        self.counts += other.counts
        self.nulls += other.nulls
        self.invalid += other.invalid
        self.new |= other.new
        self.add_rows(other.sample)
        self._seen = None
        return self

    def __add__(self, other: TableSketch) -> TableSketch:
        """Merge; neither side is changed.

        Raises:
            ValueError: if the two belong to different baselines.
        """
        return merge(self.layout, (self, other))

    __hash__ = None  # type: ignore[assignment]  # mutable: not to be a key

    def __eq__(self, other: object) -> bool:
        """Equal counts over the same baseline, all of them."""
        return (
            isinstance(other, TableSketch)
            and self.layout.baseline == other.layout.baseline
            and (self.rows, self.bad_rows, self.unreadable, self.new) == (other.rows, other.bad_rows, other.unreadable, other.new)
            and np.array_equal(self.counts, other.counts)
            and np.array_equal(self.nulls, other.nulls)
            and np.array_equal(self.invalid, other.invalid)
            and self.sample == other.sample
        )


def merge(layout: Layout, sketches: Iterable[TableSketch]) -> TableSketch:
    """Merge any number of sketches of one baseline; none gives the empty sketch.

    Raises:
        ValueError: if one belongs to another baseline.
    """
    total = TableSketch.empty(layout)
    for sketch in sketches:
        total += sketch
    return total
