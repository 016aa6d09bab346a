"""The rules that others use, from their definitions (statistics: 5), for many windows at once.

Nulls are left out by every one of them. `tests/quality/peers.py` compares them with the packages themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, kolmogorov, ndtr, rel_entr
from scipy.stats import ks_2samp

from .data import Codes, Floats, Matrix

Flags = NDArray[np.bool_]

SEED = "seed: any KS p < 0.05"
ANY_P = "any KS or chi² p < 0.05"
BONFERRONI = "Bonferroni 0.05"
BH = "Benjamini–Hochberg 0.05"
EVIDENTLY = "Evidently, half of the columns"
EVIDENTLY_ANY = "Evidently, any column"
NANNYML = "NannyML, any column"
PSI = "PSI > 0.2"
DISTANCE = "distance > 0.1"
PEERS = (SEED, ANY_P, BONFERRONI, BH, EVIDENTLY, EVIDENTLY_ANY, NANNYML, PSI, DISTANCE)

_LEVEL = 0.05
_EXACT_UP_TO = 10_000  # of the larger sample: below it scipy's p-value is exact
_SMALL_BASELINE = 1_000  # up to it Evidently tests, above it measures distances
_FLOOR = 1e-4
_ROOT_LN2 = math.sqrt(math.log(2))  # the distance in base 2


@dataclass(frozen=True)
class Scores:
    """What the rules see of one column, one number for each window.

    Args:
        numeric: whether the seed rule looks at it.
        p: of scipy's KS test, or of the chi² test.
        evidently: whether Evidently's choice for this column flags it.
        nannyml: NannyML's Jensen–Shannon distance.
        psi: of ten groups or of the levels.
        distance: KS distance or total variation.
    """

    numeric: bool
    p: Floats
    evidently: Flags
    nannyml: Floats
    psi: Floats
    distance: Floats


class NumericRules:
    """A numeric column's baseline."""

    def __init__(self, baseline: Floats) -> None:
        self.sorted = np.sort(baseline[np.isfinite(baseline)])
        self.sample = _Sample(self.sorted)
        self.sd = max(float(np.std(self.sorted)), 0.001)
        self.distinct = np.unique(self.sorted)
        cuts = np.unique(np.quantile(self.sorted, np.arange(1, 10) / 10, method="inverted_cdf"))
        self.psi_cuts = np.concatenate([[-np.inf], np.nextafter(cuts, np.inf), [np.inf]])
        edges = np.histogram_bin_edges(self.sorted, bins="doane")
        self.histogram_cuts = np.concatenate([edges[:-1], [np.nextafter(edges[-1], np.inf)]])

    def scores(self, windows: Matrix) -> Scores:
        """Measure windows of shape (windows, rows), NaN where there is nothing."""
        ordered = np.sort(np.where(np.isfinite(windows), windows, np.nan), axis=1)
        counts = np.isfinite(ordered).sum(axis=1)
        distance, transport = np.zeros(len(ordered)), np.zeros(len(ordered))
        if ordered.shape[1] > len(self.sorted):  # fewer look-ups with the roles swapped
            for i, row in enumerate(ordered):
                one = compare(_Sample(row[: counts[i]]), self.sorted[None, :], np.array([len(self.sorted)]))
                distance[i], transport[i] = one[0][0], one[1][0]
        else:
            distance, transport = compare(self.sample, ordered, counts)
        p = self._p_values(distance, ordered, counts)
        evidently = self._evidently(transport, p, ordered, counts)
        groups = _histogram(ordered, counts, self.psi_cuts)
        return Scores(
            True, p, evidently, self._nannyml(ordered, counts),
            psi(self._shares(self.psi_cuts), groups / np.maximum(counts, 1)[:, None]), distance,
        )  # fmt: skip

    def nannyml(self, windows: Matrix) -> Floats:
        """Measure what NannyML measures, alone."""
        ordered = np.sort(np.where(np.isfinite(windows), windows, np.nan), axis=1)
        counts = np.isfinite(ordered).sum(axis=1)
        return self._nannyml(ordered, counts)

    def _nannyml(self, ordered: Floats, counts: NDArray[np.intp]) -> Floats:
        return jensen_shannon(self._shares(self.histogram_cuts), _histogram(ordered, counts, self.histogram_cuts), counts) / _ROOT_LN2

    def _shares(self, cuts: Floats) -> Floats:
        return np.diff(np.searchsorted(self.sorted, cuts, side="left")) / len(self.sorted)

    def _p_values(self, distance: Floats, ordered: Floats, counts: NDArray[np.intp]) -> Floats:
        m = len(self.sorted)
        if max(m, ordered.shape[1]) > _EXACT_UP_TO:
            return ks_p_value(distance, counts, m)
        found = [ks_2samp(self.sorted, row[:n]).pvalue if n else 1.0 for row, n in zip(ordered, counts, strict=True)]
        return np.array(found, dtype=np.float64)

    def _evidently(self, transport: Floats, p: Floats, ordered: Floats, counts: NDArray[np.intp]) -> Flags:
        flags: Flags = transport / self.sd >= 0.1 if len(self.sorted) > _SMALL_BASELINE else p <= _LEVEL
        if len(self.distinct) > 5:
            return flags
        for i, (row, n) in enumerate(zip(ordered, counts, strict=True)):
            values = np.union1d(self.distinct, row[:n])
            if len(values) <= 5:  # so few values are levels to it
                before, after = (np.searchsorted(values, part) for part in (self.sorted, row[:n]))
                flags[i] = LevelRules(before.astype(np.int32), len(values)).scores(after.astype(np.int32)[None, :]).evidently[0]
        return flags


class LevelRules:
    """A categorical column's baseline."""

    def __init__(self, baseline: Codes, levels: int) -> None:
        self.levels = levels
        self.counts = np.bincount(baseline[baseline >= 0], minlength=levels).astype(np.float64)

    def scores(self, windows: Matrix) -> Scores:
        """Measure windows of codes, of shape (windows, rows), -1 where there is nothing."""
        index = np.arange(len(windows))[:, None] * (self.levels + 1) + windows + 1
        table = np.bincount(index.ravel(), minlength=len(windows) * (self.levels + 1)).reshape(len(windows), -1)[:, 1:]
        counts = table.sum(axis=1)
        shares, window = self.counts / self.counts.sum(), table / np.maximum(counts, 1)[:, None]
        js = jensen_shannon(shares, table, counts)
        known = self.counts > 0  # NannyML sums what the baseline has not
        nannyml = jensen_shannon(shares[known], table[:, known], counts) / _ROOT_LN2
        evidently = js >= 0.1 if self.counts.sum() > _SMALL_BASELINE else self._tested(table, counts)
        return Scores(
            False, chi_square(self.counts, table), evidently, nannyml, psi(shares, window), 0.5 * np.abs(window - shares).sum(axis=1)
        )

    def nannyml(self, windows: Matrix) -> Floats:
        """Measure what NannyML measures, alone."""
        return self.scores(windows).nannyml

    def _tested(self, table: NDArray[np.intp], counts: NDArray[np.intp]) -> Flags:
        present = (self.counts > 0) | (table > 0)
        expected = self.counts / self.counts.sum() * counts[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            statistic = np.where(present, (table - expected) ** 2 / expected, 0.0).sum(axis=1)
        p = chdtrc(np.maximum(present.sum(axis=1) - 1, 1), statistic)
        for i in np.flatnonzero(present.sum(axis=1) <= 2):
            p[i] = _two_shares(self.counts[present[i]], table[i][present[i]])
        return np.asarray(p < _LEVEL)


@dataclass(frozen=True)
class _Sample:
    """A sorted sample with what its distribution function needs to be integrated."""

    sorted: Floats

    @cached_property
    def sums(self) -> Floats:
        return np.concatenate([[0.0], np.cumsum(self.sorted)])

    @cached_property
    def integrals(self) -> Floats:
        """The integral of the distribution function up to each of the sorted values."""
        return self.integral(self.sorted, np.searchsorted(self.sorted, self.sorted, side="right"))

    def at_rank(self, rank: NDArray[np.intp]) -> Floats:
        """Return the integral up to the values of these ranks."""
        if rank.size > len(self.sorted):
            return self.integrals[rank]
        x = self.sorted[rank]
        return self.integral(x, np.searchsorted(self.sorted, x, side="right"))

    def integral(self, x: Floats, below: NDArray[np.intp]) -> Floats:
        found: Floats = (below * x - self.sums[below]) / len(self.sorted)
        return found


def compare(sample: _Sample, ordered: Floats, counts: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Return the exact KS distance and the first Wasserstein distance to each of many samples.

    Args:
        sample: the one.
        ordered: shape (windows, rows), each row sorted, NaN at its end.
        counts: shape (windows,), how many values each row has.
    """
    m, n = len(sample.sorted), np.maximum(counts, 1)[:, None]
    place = np.arange(ordered.shape[1])
    valid = place < counts[:, None]
    x = np.where(valid, ordered, sample.sorted[-1])
    right = np.searchsorted(sample.sorted, x, side="right")
    left = np.searchsorted(sample.sorted, x, side="left")
    # Of equal values only the last sees the whole step up, and only the first what was before it.
    changes = np.ones((len(x), x.shape[1] + 1), dtype=bool)
    changes[:, 1:-1] = x[:, 1:] != x[:, :-1]
    last, first = changes[:, 1:] | (place == counts[:, None] - 1), changes[:, :-1]
    above = np.where(valid & last, np.abs(right / m - (place + 1) / n), 0.0)
    before = np.where(valid & first, np.abs(left / m - place / n), 0.0)
    distance = np.maximum(above.max(axis=1, initial=0.0), before.max(axis=1, initial=0.0))
    return distance, _transport(sample, x, right, counts, valid)


def _transport(sample: _Sample, x: Floats, right: NDArray[np.intp], counts: NDArray[np.intp], valid: Flags) -> Floats:
    """Integrate |F - i/n| between neighbours in closed form: F crosses i/n once, at a quantile of the sample."""
    m, n = len(sample.sorted), np.maximum(counts, 1)[:, None]
    integral = sample.integral(x, right)
    level = np.arange(1, x.shape[1]) / n
    rank = np.clip(np.ceil(level * m - 1e-9).astype(np.intp) - 1, 0, m - 1)
    quantile = sample.sorted[rank]
    a, b, at_a, at_b = x[:, :-1], x[:, 1:], integral[:, :-1], integral[:, 1:]
    middle = np.clip(quantile, a, b)
    at_middle = np.where(quantile <= a, at_a, np.where(quantile >= b, at_b, sample.at_rank(rank)))
    between = level * (middle - a) - (at_middle - at_a) + (at_b - at_middle) - level * (b - middle)
    inner = np.where(valid[:, 1:], between, 0.0).sum(axis=1)
    rows = np.arange(len(x))
    end = np.maximum(counts - 1, 0)
    top = sample.sorted[-1]
    above = np.maximum(top - x[rows, end], 0.0)
    beyond = np.where(above > 0, above - (top - sample.sums[-1] / m - integral[rows, end]), 0.0)
    found: Floats = np.where(counts > 0, integral[:, 0] + inner + beyond, 0.0)
    return found


def ks_p_value(distance: Floats, n: NDArray[np.intp], m: int) -> Floats:
    """Return scipy's asymptotic p-value, by the correction of Vrbik (2018) to Kolmogorov's law instead of its slow exact sum."""
    size = np.round(np.maximum(n, 1) * m / (np.maximum(n, 1) + m))
    root = np.sqrt(size)
    x = distance * root
    return np.asarray(kolmogorov(np.maximum(x + 1 / (6 * root) + (x - 1) / (4 * size), 0.0)))


def jensen_shannon(before: Floats, table: NDArray[np.intp], counts: NDArray[np.intp]) -> Floats:
    """Return the distance in natural units; rows in none of the bins are a bin of their own, which the baseline has not."""
    after = table / np.maximum(counts, 1)[:, None]
    rest = np.maximum(1 - after.sum(axis=1), 0.0)
    middle = (after + before) / 2
    # Against nothing the rest adds x ln 2 to the window's half of the divergence.
    total = (rel_entr(after, middle) + rel_entr(before, middle)).sum(axis=1) + rest * np.log(2)
    return np.asarray(np.sqrt(np.maximum(total / 2, 0.0)))


def psi(before: Floats, after: Floats) -> Floats:
    """Return the index with the usual floor under empty groups; levels empty on both sides cancel."""
    p, q = np.maximum(before, _FLOOR), np.maximum(after, _FLOOR)
    return np.asarray(((q - p) * np.log(q / p)).sum(axis=1))


def chi_square(before: Floats, table: NDArray[np.intp]) -> Floats:
    """Return p-values as scipy.stats.chi2_contingency does, its correction of two-by-two tables included."""
    pooled = before + table
    present = pooled > 0
    m, n = before.sum(), np.maximum(table.sum(axis=1), 1)
    freedom = np.maximum(present.sum(axis=1) - 1, 1)
    total = np.zeros(len(table))
    for counts, size in ((before, m), (table, n[:, None])):
        expected = pooled * size / (m + n)[:, None]
        gap = np.abs(counts - expected)
        gap = np.where((freedom == 1)[:, None], gap - np.minimum(0.5, gap), gap)
        total += np.divide(gap**2, expected, out=np.zeros_like(expected), where=present).sum(axis=1)
    return np.asarray(np.where(present.sum(axis=1) > 1, chdtrc(freedom, total), 1.0))


def _two_shares(before: Floats, after: NDArray[np.intp]) -> float:
    m, n = before.sum(), after.sum()
    if len(before) < 2 or not n:
        return 1.0
    pooled = (before[0] + after[0]) / (m + n)
    spread = np.sqrt(pooled * (1 - pooled) * (1 / m + 1 / n))
    return float(2 * ndtr(-abs(before[0] / m - after[0] / n) / spread)) if spread else 1.0


def _histogram(ordered: Floats, counts: NDArray[np.intp], cuts: Floats) -> NDArray[np.intp]:
    """Count values into [cut, next cut), shape (windows, bins)."""
    if ordered.shape[1] > 2_000:
        return np.array([np.diff(np.searchsorted(row[:n], cuts)) for row, n in zip(ordered, counts, strict=True)])
    bins = len(cuts) + 1
    place = np.searchsorted(cuts, ordered, side="right")
    place[np.isnan(ordered)] = 0
    index = np.arange(len(ordered))[:, None] * bins + place
    return np.bincount(index.ravel(), minlength=len(ordered) * bins).reshape(-1, bins)[:, 1:-1]


class TableRules:
    """All rules over a table.

    Args:
        baseline: each column's values: floats, or codes.
        levels: number of levels of columns that hold codes.
    """

    def __init__(self, baseline: Mapping[str, Matrix], levels: Mapping[str, int]) -> None:
        self.columns: dict[str, NumericRules | LevelRules] = {
            name: LevelRules(values.ravel(), levels[name]) if name in levels else NumericRules(values.ravel())
            for name, values in baseline.items()
        }
        self._learnt: list[Floats] = []

    def learn(self, chunks: Mapping[str, Matrix]) -> None:
        """Take windows of the baseline, of the size that is checked; NannyML learns from them what is usual."""
        self._learnt.append(np.stack([rules.nannyml(chunks[name]) for name, rules in self.columns.items()], axis=1))

    @cached_property
    def limits(self) -> Floats:
        """NannyML's limits, shape (columns, 2): three standard deviations around the mean."""
        found = np.concatenate(self._learnt)
        mean, spread = found.mean(axis=0), 3 * found.std(axis=0)
        return np.stack([np.where(mean > spread, mean - spread, -np.inf), mean + spread], axis=1)

    def flags(self, windows: Mapping[str, Matrix]) -> RuleFlags:
        """Apply every rule to windows of shape (windows, rows) for each column."""
        return self.decide([rules.scores(windows[name]) for name, rules in self.columns.items()])

    def decide(self, scores: Sequence[Scores]) -> RuleFlags:
        """Turn scores of the columns, in order, into flags."""
        p = np.stack([score.p for score in scores], axis=1)
        nannyml = np.stack([score.nannyml for score in scores], axis=1)
        evidently = np.stack([score.evidently for score in scores], axis=1)
        flags = {
            SEED: (p < _LEVEL) & np.array([score.numeric for score in scores]),
            ANY_P: p < _LEVEL,
            BONFERRONI: p < _LEVEL / p.shape[1],
            BH: benjamini_hochberg(p),
            EVIDENTLY: evidently,
            EVIDENTLY_ANY: evidently,
            NANNYML: (nannyml > self.limits[:, 1]) | (nannyml < self.limits[:, 0]),
            PSI: np.stack([score.psi for score in scores], axis=1) > 0.2,
            DISTANCE: np.stack([score.distance for score in scores], axis=1) > 0.1,
        }
        alarms = {name: found.any(axis=1) for name, found in flags.items()}
        alarms[EVIDENTLY] = evidently.mean(axis=1) >= 0.5
        return RuleFlags(flags, alarms)


@dataclass(frozen=True)
class RuleFlags:
    """By rule: which columns it flags, shape (windows, columns), and in which windows it alarms, shape (windows,)."""

    columns: dict[str, Flags]
    alarms: dict[str, Flags]


def benjamini_hochberg(p: Floats) -> Flags:
    """Return what is rejected at a false discovery rate of 0.05; shape (windows, columns)."""
    ordered = np.sort(p, axis=1)
    under = ordered <= _LEVEL * np.arange(1, p.shape[1] + 1) / p.shape[1]
    last = np.where(under.any(axis=1), p.shape[1] - 1 - np.argmax(under[:, ::-1], axis=1), -1)
    limit = np.where(last >= 0, ordered[np.arange(len(p)), np.maximum(last, 0)], -1.0)
    return np.asarray(p <= limit[:, None])


__all__ = ["PEERS", "LevelRules", "NumericRules", "RuleFlags", "Scores", "TableRules", "benjamini_hochberg"]
