"""The inputs that `conformance.json` was computed from, made again from their seeds.

`samples()` gives the two-sample cases as {name: (baseline, window)}. `frames()` gives the verdict cases: the baseline's
columns, and per case its windows, oldest first, of which the last is judged. numpy freezes the streams of `RandomState`, so
that these numbers are the same on every platform and with every version.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import Any

import numpy as np
from numpy.random import RandomState
from numpy.typing import NDArray

Array = NDArray[Any]
Columns = dict[str, Array]

_LETTERS = np.array(list("abcdefgh"))
_ABC = (list("abc"), [0.6, 0.3, 0.1])


def _normal(seed: int, size: int) -> Array:
    return RandomState(seed).standard_normal(size)


def _uniform(seed: int, size: int) -> Array:
    return RandomState(seed).random_sample(size)


def _often_zero(seed: int, size: int, zeros: float) -> Array:
    """Zeros with probability `zeros`, decided by `seed`; else exponential, drawn from the seed after it."""
    return np.where(_uniform(seed, size) < zeros, 0, RandomState(seed + 1).exponential(size=size))


def _letters(seed: int, size: int, shares: Array) -> Array:
    return RandomState(seed).choice(_LETTERS, size, p=shares)


def _yes_no(seed: int, size: int, no: float) -> Array:
    return RandomState(seed).choice(["n", "y"], size, p=[no, 1 - no])


def _numeric() -> dict[str, tuple[Array, Array]]:
    standard = _normal(101, 5000)
    return {
        "same_normal": (standard, _normal(102, 2000)),
        "mean_plus_half_sd": (standard, _normal(103, 2000) + 0.5),
        "sd_x1.5": (standard, _normal(104, 2000) * 1.5),
        "lognormal_scaled": (np.exp(_normal(105, 5000)), 1.2 * np.exp(_normal(106, 3000))),
        "poisson3_vs_3.3": (RandomState(107).poisson(3, 5000).astype(float), RandomState(108).poisson(3.3, 2000).astype(float)),
        "rounded_ties": (np.round(_normal(109, 5000), 1), np.round(_normal(110, 1500) + 0.1, 1)),
        "zero_inflated": (_often_zero(111, 5000, 0.6), _often_zero(113, 2000, 0.7)),
        "tiny_window": (standard, _normal(115, 30) + 0.2),
        "constant_same": (np.full(1000, 7.0), np.full(200, 7.0)),
        "constant_moved": (np.full(1000, 7.0), np.full(200, 8.0)),
        "heavy_tail_cauchy": (RandomState(116).standard_cauchy(5000), RandomState(117).standard_cauchy(2000) + 0.3),
        "beta_vs_uniform": (_uniform(118, 4000), RandomState(119).beta(1.3, 1, 2500)),
        "tail_beyond_range": (standard, np.append(_normal(120, 1900), np.full(100, 50.0))),
        "large_tiny_shift": (_normal(121, 200_000), _normal(122, 100_000) + 0.02),
    }


def _categorical() -> dict[str, tuple[Array, Array]]:
    shares = 1 / np.arange(1, 9)
    shares /= shares.sum()
    moved = shares + np.array([-0.1, 0, 0, 0, 0, 0.1, 0, 0])
    baseline = partial(_letters, 123, 5000, shares)
    return {
        "categories_same": (baseline(), _letters(124, 1000, shares)),
        "categories_mix": (baseline(), _letters(125, 2000, moved)),
        "categories_unseen": (baseline(), np.append(_letters(126, 1900, shares), np.full(100, "zz"))),
        "binary": (_yes_no(127, 5000, 0.3), _yes_no(128, 1000, 0.36)),
    }


def samples() -> dict[str, tuple[Array, Array]]:
    """Return the two-sample cases: numbers, then categories."""
    return _numeric() | _categorical()


def _frame(rows: int, mean: float = 0.0, seed: int = 3, *, nulls: float = 0.0, without: Collection[str] = ()) -> Columns:
    x = _normal(seed, rows) + mean
    x[_uniform(seed + 2, rows) < nulls] = np.nan
    columns = {
        "x": x,
        "k": np.ones(rows),
        "c": RandomState(seed + 1).choice(_ABC[0], rows, p=_ABC[1]),
        "z": np.full(rows, None),
    }
    return {name: values for name, values in columns.items() if name not in without}


def frames() -> tuple[Columns, dict[str, list[Columns]]]:
    """Return the verdict cases: a normal, a constant, a categorical and an all-null column."""
    baseline = {
        "x": _normal(1, 20_000),
        "k": np.ones(20_000),
        "c": RandomState(2).choice(_ABC[0], 20_000, p=_ABC[1]),
        "z": np.full(20_000, None),
    }
    small: Callable[..., Columns] = partial(_frame, 100, 0.5)
    return baseline, {
        "no change": [_frame(1000)],
        "mean +0.5 sd, 1000 rows": [_frame(1000, 0.5)],
        "mean +0.5 sd, 100 rows, 1 window": [small()],
        "mean +0.5 sd, 100 rows, 8 windows": [small(10 * index) for index in range(1, 9)],
        "mean +0.1 sd, 20000 rows": [_frame(20_000, 0.1)],
        "20 % nulls": [_frame(1000, nulls=0.2)],
        "column dropped": [_frame(1000, without=["c"])],
        "30 rows": [_frame(30)],
        "recovered after one bad window": [_frame(1000, 2.0, 50), _frame(1000, 0.0, 60)],
    }
