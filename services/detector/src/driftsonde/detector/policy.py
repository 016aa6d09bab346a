"""From configuration to what the pure packages take."""

from __future__ import annotations

from driftsonde.core import config
from driftsonde.core.building import BuildOptions
from driftsonde.core.parameters import parameters_of

__all__ = ["build_options", "parameters_of"]


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
