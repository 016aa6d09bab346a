"""Every check of a verdict follows from the counts that an event carries of it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from driftsonde.core.api import Baseline, Parameters, judge
from driftsonde.core.drift.checks import METHODS, Check, OptionalName, ShareCounts
from driftsonde.core.drift.lookback import merged_column
from driftsonde.core.drift.recompute import Evidence, Spent, evidence, recompute

SEEDS = range(12)


def frame(rows: int, *, seed: int, change: float = 0.0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    plain = random.normal(size=rows) + 3 * change
    return pd.DataFrame({
        "smooth": plain,
        "few": random.integers(0, 6, rows) + (random.random(rows) < change),
        "mixed": np.where(random.random(rows) < 0.5 + change / 2, 0.0, random.exponential(size=rows)),
        "nulls": np.where(random.random(rows) < change, np.nan, plain),
        "infinite": np.where(random.random(rows) < change / 2, np.inf, plain),
        "level": random.choice([*"abcde"], rows, p=[0.5 - change / 3, 0.3 + change / 3, 0.1, 0.09, 0.01]),
        "unseen": np.where(random.random(rows) < change, "new", random.choice([*"xy"], rows)),
        "constant": np.full(rows, 1.0 + (change > 0.2)),
    })  # fmt: skip


@cache
def accepted() -> Baseline:
    return Baseline.build(frame(3_000, seed=99), bins=64)


def verdicts(seed: int) -> Iterator[tuple[Check, Evidence, Spent]]:
    """Yield every check of a window with small windows before it, with the counts that it was computed from."""
    random = np.random.default_rng(seed)
    baseline = accepted()
    sizes = random.integers(40, 900, 5)
    change = float(random.choice([0.0, 0.05, 0.12, 0.3]))
    windows = [baseline.sketch().update(frame(int(rows), seed=seed * 10 + place, change=change)) for place, rows in enumerate(sizes)]
    parameters = Parameters(lookback=4, margin=float(random.choice([0.0, 0.5, 1.0])))
    verdict, tables = judge(baseline, windows, parameters), [window.table for window in windows[-4:]]
    for column in verdict.columns:
        for check in column.checks:
            counted = merged_column(tables, column.name, check.lookback)
            given = evidence(baseline.by_name[column.name], counted, check.name, parameters.psi_bins)
            yield check, given, Spent(check.threshold, parameters.margin, verdict.level)


@pytest.mark.parametrize("seed", SEEDS)
def test_recomputed_check_is_the_one_of_the_verdict(seed: int) -> None:
    for check, given, spent in verdicts(seed):
        found = recompute(check.name, given, spent)
        assert found.score == pytest.approx(check.score, abs=1e-9)
        assert found.critical == pytest.approx(check.critical, abs=1e-9)
        assert found.p_value == pytest.approx(check.p_value, rel=1e-9, abs=1e-300)
        assert found.interval == pytest.approx(check.interval, abs=1e-9)
        assert (found.n, found.m, found.certain) == (check.n, check.m, check.certain)
        assert (found.bracket is None) == (check.bracket is None)
        if found.bracket is not None:
            assert tuple(found.bracket) == pytest.approx(check.bracket, abs=1e-9)


def test_examples_hold_every_check_at_several_scales() -> None:
    checks = [check for seed in SEEDS for check, _, _ in verdicts(seed)]
    assert {check.name for check in checks} == set(METHODS) - set(get_args(OptionalName))
    assert {check.name for check in checks if check.drift} == set(METHODS) - set(get_args(OptionalName))
    assert {check.lookback for check in checks} == {1, 2, 4}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Evidence((), ()), "empty"), (Evidence((1, 2), (3,)), "same bins"), (Evidence((0, 0), (1, 1)), "empty"),
        (Evidence((-1, 2), (1, 1)), "negative"), (Evidence((1, 1), (1, 1), (2,)), "fewer bins"), (Evidence((1, 1), (1, 1), (-1,)), "fewer bins"),
        (Evidence(share=ShareCounts(3, 2, 0, 5, 0.0)), "more values"), (Evidence(share=ShareCounts(0, 0, 0, 5, 0.0)), "more values"),
    ],
)  # fmt: skip
def test_counts_that_cannot_be_are_refused(given: Evidence, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recompute("nulls" if given.share else "ks", given, Spent(0.1, 0.5, 1e-6))
