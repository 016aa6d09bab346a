"""The true size of a change, from distributions, is what large samples show."""

from __future__ import annotations

import numpy as np
import pytest

from driftsonde.core.api import Baseline, judge

from .data import NOTHING, draw_table, levels_of, to_batch
from .effects import cases, size, true_effects

ROWS = 20_000


@pytest.mark.parametrize("target", [0.6, 2.0])
def test_true_effects_are_those_of_large_samples(target: float) -> None:
    picked = cases((target,))
    columns = [case.column for case in picked]
    random, levels = np.random.default_rng(3), levels_of(columns)
    baseline = Baseline.build(to_batch(levels, draw_table(random, columns, ROWS), 0))
    window = draw_table(random, columns, 2 * ROWS, changes={case.column.name: case.change for case in picked})
    verdict = judge(baseline, baseline.sketch().update(to_batch(levels, window, 0)))
    scores = {column.name: {str(check.name): check.score for check in column.checks} for column in verdict.columns}
    for case in picked:
        for check, effect in true_effects(case.column, case.change).items():
            assert scores[case.column.name][check] == pytest.approx(effect, abs=0.025, rel=0.1), (case.column.name, check)


def test_solved_changes_have_the_size_asked_for() -> None:
    assert all(case.size == pytest.approx(1.5, rel=1e-3) for case in cases((1.5,)))
    assert size(cases((1.5,))[0].column, NOTHING) < 0.01
