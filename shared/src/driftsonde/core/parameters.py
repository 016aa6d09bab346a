"""From the configured policy to what the statistics take."""

from __future__ import annotations

from driftsonde.core import config
from driftsonde.core.drift.policy import Parameters, Thresholds


def parameters_of(policy: config.Policy) -> Parameters:
    """Return how a monitor's windows are judged."""
    return Parameters(
        alpha=policy.alpha, margin=policy.margin, thresholds=_thresholds(policy.thresholds),
        columns={name: _thresholds(own) for name, own in policy.columns.items()}, psi_bins=policy.psi_bins,
        min_rows=policy.min_rows, lookback=policy.lookback, bad_rows=policy.bad_rows, optional=dict(policy.optional),
    )  # fmt: skip


def _thresholds(section: config.Thresholds) -> Thresholds:
    return Thresholds(**section.model_dump())
