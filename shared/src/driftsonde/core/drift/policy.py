"""How windows are judged: the parameters of statistics section 2.5."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from driftsonde.core.drift.checks import OptionalName
from driftsonde.core.sketch.column import ColumnBaseline

HYPOTHESES = 5
"""Checks per column that the false-alarm account pays for, evaluated or not (statistics: 2.2)."""


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which effect a check may alarm. `distance` serves ks and tv."""

    distance: float = 0.10
    psi: float = 0.20
    nulls: float = 0.05
    outside: float = 0.02
    invalid: float = 0.02


@dataclass(frozen=True, slots=True)
class Parameters:
    """The policy.

    Args:
        alpha: false alarms per window, over all columns and checks.
        margin: the share of a threshold that a change must surely exceed.
        thresholds: of every column.
        columns: of some columns, in place of the common ones.
        psi_bins: groups that PSI is taken over.
        min_rows: valid values that a distribution check needs.
        lookback: windows that are merged at most.
        bad_rows: the share of unparseable rows beyond which a window is untrusted.
        optional: checks that are off by default, with the threshold of each.
    """

    alpha: float = 0.001
    margin: float = 0.5
    thresholds: Thresholds = field(default_factory=Thresholds)
    columns: Mapping[str, Thresholds] = field(default_factory=dict)
    psi_bins: int = 10
    min_rows: int = 100
    lookback: int = 32
    bad_rows: float = 0.01
    optional: Mapping[OptionalName, float] = field(default_factory=dict)

    def scales(self) -> list[int]:
        """Return how many windows are merged in turn: the powers of two up to `lookback`."""
        return [1 << power for power in range(self.lookback.bit_length())]

    def level(self, columns: int) -> float:
        """Return what each check may spend: alpha / (5 × columns × scales), Bonferroni's union bound."""
        return self.alpha / (HYPOTHESES * max(columns, 1) * len(self.scales()))

    def optional_level(self, columns: int) -> float:
        """Return what an optional check may spend on a column: it sees one window at a time, and has an account of its own."""
        return self.alpha / max(columns, 1)

    def thresholds_of(self, column: ColumnBaseline) -> Thresholds:
        """Return a column's thresholds: its own or the common ones, raised where the baseline's own windows vary more."""
        base = self.columns.get(column.name, self.thresholds)
        return replace(base, **{name: max(value, getattr(base, name)) for name, value in column.thresholds.items()})
