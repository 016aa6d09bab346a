"""From configuration to what the pure packages take."""

from __future__ import annotations

from driftsonde.core import config
from driftsonde.core.building import BuildOptions
from driftsonde.core.drift.policy import Parameters, Thresholds


def parameters_of(policy: config.Policy) -> Parameters:
    """Return how a monitor's windows are judged."""
    return Parameters(
        alpha=policy.alpha, margin=policy.margin, thresholds=_thresholds(policy.thresholds),
        columns={name: _thresholds(own) for name, own in policy.columns.items()}, psi_bins=policy.psi_bins,
        min_rows=policy.min_rows, lookback=policy.lookback, bad_rows=policy.bad_rows,
    )  # fmt: skip


def build_options(monitor: config.Monitor, *, calibrate: bool) -> BuildOptions:
    """Return how a monitor's baseline is built; `calibrate` follows the configured back-test."""
    columns, how = monitor.columns, monitor.baseline
    # Labels come late or never: their absence says nothing of the inputs.
    ignore = (*columns.ignore, *((columns.label,) if columns.label else ()))
    only = tuple(dict.fromkeys((*columns.only, *(name for name in (columns.prediction,) if name)))) if columns.only else ()
    return BuildOptions(
        bins=how.bins, max_categories=how.max_categories, only=only, ignore=ignore, categorical=columns.categorical,
        backtest=config.parse_backtest(how.backtest) if how.backtest and calibrate else None, parameters=parameters_of(monitor.policy),
    )  # fmt: skip


def _thresholds(section: config.Thresholds) -> Thresholds:
    return Thresholds(**section.model_dump())
