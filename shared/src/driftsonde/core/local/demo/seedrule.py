"""The rule that many start with: alarm when any numeric column has a Kolmogorov–Smirnov p-value below 0.05."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from scipy.special import kolmogorov

from driftsonde.core.columns import column_type, numbers


class SeedRule:
    """Compares raw values with raw values, as `scipy.stats.ks_2samp(method="asymp")` does."""

    def __init__(self, baseline: pa.Table) -> None:
        names = [field.name for field in baseline.schema if column_type(field.type) == "numeric"]
        self._baseline = {name: np.sort(numbers(baseline.column(name).combine_chunks()).values) for name in names}

    def fires(self, window: pa.Table) -> bool:
        """Whether any column has p < 0.05."""
        return any(self._p(name, window) < 0.05 for name in self._baseline)

    def _p(self, name: str, window: pa.Table) -> float:
        a, b = self._baseline[name], np.sort(numbers(window.column(name).combine_chunks()).values)
        if not len(b):
            return 1.0
        points = np.concatenate([a, b])
        gap = np.abs(np.searchsorted(a, points, "right") / len(a) - np.searchsorted(b, points, "right") / len(b)).max()
        return float(kolmogorov(np.sqrt(len(a) * len(b) / (len(a) + len(b))) * gap))
