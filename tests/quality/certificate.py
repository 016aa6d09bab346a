"""Binning costs something: the exact KS distance must lie inside the bracket that a verdict reports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from scipy.stats import ks_2samp

from driftsonde.core.api import Baseline, judge

from .data import Floats
from .report import Goal, Section, Table
from .tasks import Task

_BINS = (64, 256, 1024)
_ROUNDING = 1e-12
_COLUMNS = 20


def tasks(quick: bool) -> Iterator[Task]:
    """Yield pieces of work of forty tables each."""
    return (Task(_tables, (seed, 5 if quick else 40), 20) for seed in range(2 if quick else 10))


def _values(random: np.random.Generator, kind: int, rows: int, shift: float) -> Floats:
    """Draw values that are hard on bins: ties, atoms, heavy tails, gaps."""
    normal = random.standard_normal(rows) + shift
    shapes = (
        normal,
        np.round(normal, 1),
        np.round(normal * 2) / 2,
        np.where(random.random(rows) < 0.4, 0.0, normal),
        random.standard_cauchy(rows) + shift,
        np.exp(3 * normal),
        np.where(random.random(rows) < 0.5, normal, normal + 50),
        np.floor(np.exp(2 * normal)),
        np.clip(normal, -0.7, 0.9),
        normal * 1e-300,
    )
    return np.asarray(shapes[kind])


def _tables(seed: int, count: int) -> tuple[int, int, dict[int, float], float]:
    """Return cases, cases in which the exact distance lies inside, the widest bracket by bins, and how far outside at worst."""
    random = np.random.default_rng([9, seed])
    cases = inside = 0
    widest, worst = dict.fromkeys(_BINS, 0.0), 0.0
    names = [f"c{i}" for i in range(_COLUMNS)]
    for _ in range(count):
        m, n = int(random.integers(250, 6_000)), int(random.integers(100, 4_000))
        shift = float(random.choice([0.0, 0.1, 0.5, 3.0]))
        baseline = np.stack([_values(random, i % 10, m, 0.0) for i in range(_COLUMNS)], axis=1)
        window = np.stack([_values(random, i % 10, n, shift * (i >= 10)) for i in range(_COLUMNS)], axis=1)
        exact = {name: float(ks_2samp(baseline[:, i], window[:, i], method="asymp").statistic) for i, name in enumerate(names)}
        for bins in _BINS:
            frozen = Baseline.build(baseline, names=names, bins=bins)
            verdict = judge(frozen, frozen.sketch().update(window, names=names))
            for column in verdict.columns:
                bracket = next(check.bracket for check in column.checks if check.name == "ks")
                assert bracket is not None
                lower, upper = bracket
                outside = max(lower - exact[column.name], exact[column.name] - upper)
                cases, inside, worst = cases + 1, inside + (outside <= _ROUNDING), max(worst, outside)
                widest[bins] = max(widest[bins], upper - lower)
    return cases, inside, widest, worst


def certificate(results: Sequence[tuple[int, int, dict[int, float], float]], quick: bool) -> Section:
    """Print the widest brackets, and hold the share inside against one."""
    cases, inside = sum(result[0] for result in results), sum(result[1] for result in results)
    widest = {bins: max(result[2][bins] for result in results) for bins in _BINS}
    rows = [[str(bins), f"{widest[bins]:.4f}", f"{cases // len(_BINS):,}"] for bins in _BINS]
    goal = Goal(
        "certificate.inside",
        "exact KS distance inside the reported bracket: share of cases",
        1,
        inside / cases,
        most=False,
        note=f"{inside:,} of {cases:,}",
    )
    return Section([goal], [Table("Widest bracket [lower, upper] of the KS distance", ["bins", "widest", "cases"], rows)], {})
