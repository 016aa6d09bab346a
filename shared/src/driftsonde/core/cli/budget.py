"""`driftsonde budget`: from false alarms per quarter to the policy, with the arithmetic."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from driftsonde.core.config import parse_duration

if TYPE_CHECKING:
    from driftsonde.core.drift.budget import AlarmBudget
    from driftsonde.core.drift.policy import Parameters


def budget(
    false_alarms: Annotated[float, typer.Option(help="At most so many per quarter, over all monitors.")],
    window: Annotated[str, typer.Option(help="How much time a window spans, e.g. 1d or 15m.")],
    monitors: Annotated[int, typer.Option(min=1)] = 1,
    columns: Annotated[int, typer.Option(min=1, help="Watched columns of each monitor.")] = 50,
    baseline_rows: Annotated[int, typer.Option(min=1)] = 20_000,
    lookback: Annotated[int, typer.Option(min=1, max=256, help="Windows merged at most.")] = 32,
) -> None:
    """Turn "at most N false alarms per quarter" into a policy, and show what it costs in power."""
    from driftsonde.core.drift.budget import alarm_budget
    from driftsonde.core.drift.policy import Parameters

    length = parse_duration(window)
    if not isinstance(length, timedelta) or length <= timedelta(0):
        raise typer.BadParameter(f"{window!r}: expected a length such as 1d, 6h or 15m", param_hint="--window")
    parameters = Parameters(lookback=lookback)
    try:
        found = alarm_budget(false_alarms, length, parameters, monitors=monitors, columns=columns, baseline_rows=baseline_rows)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc
    for line in explain_budget(found, false_alarms, window, parameters, monitors=monitors, columns=columns, baseline_rows=baseline_rows):
        print(line)


def explain_budget(
    found: AlarmBudget, false_alarms: float, window: str, parameters: Parameters, *, monitors: int, columns: int, baseline_rows: int
) -> list[str]:
    """Return the arithmetic, line by line."""
    from driftsonde.core.drift.budget import QUARTER
    from driftsonde.core.drift.policy import HYPOTHESES

    scales, threshold, margin = parameters.scales(), parameters.thresholds.distance, parameters.margin
    merged = ", ".join(map(str, scales))
    several = f" x {monitors} monitors" if monitors > 1 else ""
    return [
        f"windows per quarter   {QUARTER.total_seconds() / 86_400:g} days / {window}{several} = {found.windows:,.1f}",
        f"alpha                 {false_alarms:g} / {found.windows:,.1f} = {found.exact:.3g}{'' if found.note else f', rounded down: {found.alpha:g}'}",
        *([f"                      {found.note}"] if found.note else []),
        f"                      so on average at most {found.expected:.3g} of a quarter's {found.windows:,.0f} windows alarm falsely",
        f"look-backs            {len(scales)} ({merged} windows merged)",
        f"each check may spend  {found.alpha:g} / ({HYPOTHESES} x {columns} columns x {len(scales)} look-backs) = {found.level:.3g}",
        "",
        f"What it costs: a KS distance alarms from max({threshold:g}, {margin:g} x {threshold:g} + c), c = sqrt(ln(2 / {found.level:.3g}) (n + m) / (2 n m)),",
        f"with m = {baseline_rows:,} rows of the baseline and n of the window (look-back merges windows, and n grows):",
        "",
        *(
            f"  n = {seen.n:>7,}   {seen.distance:.3f}{'   the threshold itself' if seen.distance <= threshold else ''}"
            for seen in found.seen
        ),
        "",
        "In driftsonde.yaml, under each monitor:",
        "",
        f"    policy: {{alpha: {found.alpha:g}{'' if parameters.lookback == 32 else f', lookback: {parameters.lookback}'}}}",
        "",
        "For independent rows. Where rows of one day resemble each other, back-test too: baseline: {backtest: 40} or COLUMN:1d.",
    ]
