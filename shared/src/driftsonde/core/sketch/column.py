"""What a baseline keeps of one column: its bins, its own counts over them, and what was learnt about its variability."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins

Kind = Literal["numeric", "categorical", "empty"]


@dataclass(frozen=True, eq=False)
class ColumnBaseline:
    """One watched column.

    Args:
        name: the column.
        kind: `empty` when the baseline has no value in it: then only nulls are tested.
        bins: None for `empty`.
        sketch: the baseline's own counts.
        singletons: levels seen exactly once; their share estimates what is still unseen (Good–Turing).
        thresholds: back-tested thresholds by `distance`, `psi`, `nulls`; only those that were raised.
    """

    name: str
    kind: Kind
    bins: NumericBins | Levels | None
    sketch: ColumnSketch
    singletons: int = 0
    thresholds: dict[str, float] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Number of counts."""
        return self.bins.size if self.bins else 1

    def empty_sketch(self) -> ColumnSketch:
        """Return a sketch of this column with nothing in it."""
        return ColumnSketch(np.zeros(self.size, dtype=np.int64))

    @property
    def tests_outside(self) -> bool:
        """Whether `outside` means anything: not for an identifier, whose levels are too many to remember."""
        return self.kind == "numeric" or (isinstance(self.bins, Levels) and self.bins.complete)
