"""How large a change truly is, from the distributions themselves: no sampling, nothing of driftsonde."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri

from .data import NOTHING, Change, Column, Floats, ten

THRESHOLDS = {"ks": 0.10, "tv": 0.10, "psi": 0.20, "nulls": 0.05, "outside": 0.02, "invalid": 0.02}
_FINE = 1_000  # pieces that a smooth distribution is cut into
_GROUPS = 10
_SMALL_LEVEL = 0.01  # PSI pools rarer levels
_TRACKED = 30
_RANGE = float(ndtri(1 - 1 / 20_000))
_EMPTY = 0.5 / 20_000  # half a row of the baseline: against a level that it has not, PSI would be infinite


def true_effects(column: Column, change: Change) -> dict[str, float]:
    """Return the effect of each check in an endless window; what has no limit against an endless baseline is against 20,000 rows."""
    before, after = _shares(column, NOTHING), _shares(column, change)
    found = {"nulls": abs(change.nulls - NOTHING.nulls), "outside": change.outside + _beyond(column, change)}
    if column.numeric:
        found |= {"invalid": change.invalid, "ks": float(np.abs(np.cumsum(after - before)).max())}
    else:
        found["tv"] = float(0.5 * np.abs(after - before).sum())
    found["psi"] = _psi(*_grouped(column, before, after))
    return found


def size(column: Column, change: Change) -> float:
    """Return the largest effect in units of its threshold."""
    return max(effect / THRESHOLDS[check] for check, effect in true_effects(column, change).items())


def _shares(column: Column, change: Change) -> Floats:
    """Return the shares of valid values by piece or level, and last of what lies outside."""
    cuts = column.cuts if len(column.cuts) else ndtri(np.arange(1, _FINE) / _FINE)
    shares = np.diff(ndtr((cuts - change.shift) / change.scale), prepend=0.0, append=1.0)
    usual = int(np.searchsorted(cuts, 0.0)) if column.numeric else len(shares) - 1
    shares *= 1 - change.mix
    shares[usual] += change.mix
    return np.append(shares * (1 - change.outside), change.outside)


def _beyond(column: Column, change: Change) -> float:
    """Return the share that moves out of the range that the baseline's rows happen to have."""
    if not column.numeric:
        return 0.0
    edges = np.array([-_RANGE, _RANGE])
    if len(column.cuts):  # whole numbers from zero on
        edges = np.array([-np.inf, column.cuts[min(int(np.searchsorted(column.cuts, _RANGE)), len(column.cuts) - 1)]])
    low, high = ndtr((edges - change.shift) / change.scale)
    return float((1 - change.mix) * (1 - change.outside) * (low + 1 - high))


def _grouped(column: Column, before: Floats, after: Floats) -> tuple[Floats, Floats]:
    if column.numeric:  # about equal masses; what lies above the range belongs to the last
        start = np.concatenate([[0.0], np.cumsum(before)[:-1]])
        group = np.minimum((start * _GROUPS + 1e-9).astype(np.intp), _GROUPS - 1)
    else:
        group = np.arange(len(before))
        group[_TRACKED:-1] = _TRACKED  # `other`; levels fall in share from first to last
        entries = np.bincount(group, before)
        group = np.where(entries[group] < _SMALL_LEVEL, len(before), group)
    sums = [np.asarray(np.bincount(group, shares), dtype=np.float64) for shares in (before, after)]
    present = (sums[0] > 0) | (sums[1] > 0)
    return sums[0][present], sums[1][present]


def _psi(before: Floats, after: Floats) -> float:
    p, q = np.maximum(before, _EMPTY), np.maximum(after, _EMPTY)
    return float(((q - p) * np.log(q / p)).sum())


Family = Callable[[float], Change]

NUMERIC: dict[str, Family] = {
    "mean up": lambda x: Change(shift=3 * x),
    "mean down": lambda x: Change(shift=-3 * x),
    "wider": lambda x: Change(scale=1 + 9 * x),
    "narrower": lambda x: Change(scale=1 - 0.999 * x),
    "median instead": lambda x: Change(mix=x),
    "beyond the range": lambda x: Change(outside=x / 2),
    "nulls": lambda x: Change(nulls=NOTHING.nulls + 0.9 * x),
    "infinite": lambda x: Change(invalid=x / 2),
}
LEVELS: dict[str, Family] = {
    "mean up": NUMERIC["mean up"],
    "mean down": NUMERIC["mean down"],
    "last level instead": NUMERIC["median instead"],
    "level never seen": NUMERIC["beyond the range"],
    "nulls": NUMERIC["nulls"],
}


@dataclass(frozen=True)
class Case:
    """A column with a change of a chosen size, in units of the threshold."""

    column: Column
    family: str
    change: Change
    size: float


def cases(sizes: Sequence[float]) -> list[Case]:
    """Return every family of changes of every kind of column in every size that it can reach."""
    return [case for target in sizes for case in _cases(target)]


def _cases(target: float) -> Iterator[Case]:
    for column in ten()[4:]:  # one of each kind
        for name, family in (NUMERIC if column.numeric else LEVELS).items():
            if size(column, family(1.0)) < target:
                continue
            strength = brentq(lambda x, c=column, f=family: size(c, f(x)) - target, 0.0, 1.0, xtol=1e-9)
            change = family(float(strength))
            yield Case(replace(column, name=f"{column.name}, {name}, {target:g}"), name, change, size(column, change))
