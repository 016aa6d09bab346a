"""Baseline columns: an empty sketch that fits, and what lies outside."""

from __future__ import annotations

import numpy as np
import pytest

from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins

NUMERIC = ColumnBaseline("x", "numeric", NumericBins(np.array([0.0, 1.0])), ColumnSketch(np.array([0, 5, 0])))
CATEGORICAL = ColumnBaseline("c", "categorical", Levels(("a",)), ColumnSketch(np.array([5, 0, 0])))
EMPTY = ColumnBaseline("z", "empty", None, ColumnSketch(np.array([0]), nulls=5))


@pytest.mark.parametrize("column", [NUMERIC, CATEGORICAL, EMPTY], ids=lambda column: column.kind)
def test_empty_sketch_fits_its_own_column(column: ColumnBaseline) -> None:
    assert (column.empty_sketch() + column.sketch) == column.sketch


def test_outside_means_nothing_where_levels_are_forgotten() -> None:
    forgetful = ColumnBaseline("c", "categorical", Levels(("a",), complete=False), ColumnSketch(np.array([5, 0, 0])))
    assert [column.tests_outside for column in (NUMERIC, CATEGORICAL, forgetful, EMPTY)] == [True, True, False, False]
