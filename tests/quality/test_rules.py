"""The rules of others, many windows at once, equal scipy's functions on one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.stats import chi2_contingency, false_discovery_control, ks_2samp, wasserstein_distance

from . import rules
from .data import draw_table, ten
from .rules import LevelRules, NumericRules

RANDOM = np.random.default_rng(7)
TABLE = ten()


@pytest.mark.parametrize("name", ["normal 0", "lognormal", "poisson"])
@pytest.mark.parametrize(("rows", "shift"), [(60, 0.0), (700, 0.3), (30_000, 0.02)])
def test_distances_of_numbers_equal_those_of_scipy(name: str, rows: int, shift: float) -> None:
    column = next(column for column in TABLE if column.name == name)
    baseline = column.draw(RANDOM, 1, 12_000)[0]
    windows = column.draw(RANDOM, 3, rows, shifts=np.full(3, shift))
    own = NumericRules(baseline)
    scores = own.scores(windows)
    clean = baseline[np.isfinite(baseline)]
    for i, window in enumerate(windows):
        values = window[np.isfinite(window)]
        expected = ks_2samp(clean, values)
        transport = wasserstein_distance(clean, values) / np.std(clean)
        assert scores.distance[i] == pytest.approx(expected.statistic, abs=1e-12)
        assert scores.p[i] == pytest.approx(expected.pvalue, abs=2e-3)
        assert bool(scores.evidently[i]) == (transport >= 0.1)


def test_wasserstein_distance_equals_that_of_scipy() -> None:
    for rows in (1, 5, 800):
        baseline, windows = np.sort(RANDOM.poisson(4, 900) * 1.0), np.sort(RANDOM.poisson(5, (4, rows)) * 1.0, axis=1)
        _, found = rules.compare(NumericRules(baseline).sample, windows, np.full(4, rows))
        assert found == pytest.approx([wasserstein_distance(baseline, window) for window in windows])


def test_histogram_distance_counts_what_lies_outside() -> None:
    baseline, window = RANDOM.normal(size=5_000), RANDOM.normal(1.0, 2.0, size=400)
    edges = np.histogram_bin_edges(baseline, bins="doane")
    p, q = np.histogram(baseline, edges)[0] / 5_000, np.histogram(window, edges)[0] / 400
    expected = jensenshannon(np.append(p, 0), np.append(q, 1 - q.sum()), base=2)
    assert NumericRules(baseline).scores(window[None, :]).nannyml[0] == pytest.approx(expected)


@pytest.mark.parametrize("levels", [2, 8, 40])
def test_categories_equal_those_of_scipy(levels: int) -> None:
    column = next(column for column in TABLE if column.name == f"{levels} levels")
    baseline, window = column.draw(RANDOM, 1, 5_000)[0], column.draw(RANDOM, 1, 300, shifts=np.full(1, 0.2))[0]
    scores = LevelRules(baseline, levels + 1).scores(window[None, :])
    before, after = (np.bincount(part[part >= 0], minlength=levels) for part in (baseline, window))
    assert scores.p[0] == pytest.approx(chi2_contingency(np.stack([before, after])).pvalue)
    assert scores.nannyml[0] == pytest.approx(jensenshannon(before, after, base=2))
    assert scores.distance[0] == pytest.approx(0.5 * np.abs(before / before.sum() - after / after.sum()).sum())


def test_discovery_control_equals_that_of_scipy() -> None:
    p = RANDOM.random((50, 20)) ** 3
    expected = np.array([false_discovery_control(row) <= 0.05 for row in p])
    assert np.array_equal(rules.benjamini_hochberg(p), expected)


def test_windows_of_different_lengths_share_a_matrix() -> None:
    baseline = RANDOM.normal(size=2_000)
    short, long = RANDOM.normal(size=30), RANDOM.normal(size=90)
    padded = np.full((2, 90), np.nan)
    padded[0, :30], padded[1] = short, long
    together = NumericRules(baseline).scores(padded)
    for i, window in enumerate((short, long)):
        alone = NumericRules(baseline).scores(window[None, :])
        assert (together.distance[i], together.psi[i], together.nannyml[i]) == (alone.distance[0], alone.psi[0], alone.nannyml[0])


def test_a_drawn_table_has_the_promised_share_of_nulls() -> None:
    drawn = draw_table(RANDOM, TABLE, 5_000, windows=2)
    missing = [np.mean(np.isnan(values) if values.dtype.kind == "f" else values < 0) for values in drawn.values()]
    assert missing == pytest.approx([0.02] * len(TABLE), abs=0.01)
