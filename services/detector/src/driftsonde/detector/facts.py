"""From a verdict to what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from driftsonde.core.drift.checks import Check, grouped, largest_moves
from driftsonde.core.drift.lookback import merged_column
from driftsonde.core.drift.verdict import ColumnVerdict, Verdict
from driftsonde.core.events import BaselineRef, CheckResult, DataUntrusted, DriftDetected, DropRef, Shift, WindowRef
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.table import TableSketch

MAX_CHECKS = 20
_FINITE = 1e9


def announce(
    monitor: str, episode: int, verdict: Verdict, window: WindowRef, baseline: FrozenBaseline, reference: BaselineRef,
    history: Sequence[TableSketch], drops: Sequence[DropRef], psi_bins: int,
) -> DriftDetected | DataUntrusted:  # fmt: skip
    """Return the event that opens an episode.

    Args:
        history: sketches of the look-back, oldest first, the judged window last.
    """
    failing = _failing(verdict)
    checks = tuple(_result(baseline, column, check, history, psi_bins) for column, check in failing[:MAX_CHECKS])
    columns = tuple(dict.fromkeys([*(column.name for column, _ in failing), *(c.name for c in verdict.columns if c.alarms)]))
    common: dict[str, Any] = {
        "monitor": monitor, "episode": episode, "sequence": 1, "window": window, "baseline": reference,
        "summary": summarise(verdict), "columns": columns, "checks": checks,
    }  # fmt: skip
    if verdict.word == "untrusted":
        return DataUntrusted(**common)
    return DriftDetected(**common, drops=tuple(drops), trainable=verdict.trainable)


def summarise(verdict: Verdict) -> str:
    """Say a verdict in one sentence."""
    if verdict.broken:
        return "The data cannot be trusted: " + "; ".join(verdict.broken[:5]) + "."
    failing = _failing(verdict)
    if not failing:
        return f"Nothing moved in {verdict.rows:,} rows." if verdict.word == "ok" else f"{verdict.rows:,} rows: {verdict.word}."
    column, check = failing[0]
    names = len({column.name for column, _ in failing})
    more = f", and {names - 1} more column{'s' if names > 2 else ''}" if names > 1 else ""
    span = f" over {check.lookback} windows" if check.lookback > 1 else ""
    return f"{column.name} moved: {check.name} {check.score:.3f}{span}, alarms from {check.critical:.3f}{more}."


def window_detail(verdict: Verdict) -> dict[str, Any]:
    """Return what the read API shows of a verdict: the alarming and the strongest checks, small enough to keep for ever."""
    columns = {}
    for column in verdict.columns:
        shown = max(column.checks, key=lambda check: (check.drift, check.score / check.critical), default=None)
        entry: dict[str, Any] = {"status": column.status}
        if shown is not None:
            entry |= {"check": shown.name, "score": round(shown.score, 6), "critical": round(shown.critical, 6), "lookback": shown.lookback}
            entry["p_unchanged"] = min((check.p_unchanged for check in column.checks if check.name in ("ks", "tv")), default=1.0)
        columns[column.name] = entry
    return {"summary": summarise(verdict), "columns": columns, "new": list(verdict.new), "broken": list(verdict.broken)}


def _failing(verdict: Verdict) -> list[tuple[ColumnVerdict, Check]]:
    pairs = [(column, check) for column in verdict.columns for check in column.failing]
    return sorted(pairs, key=lambda pair: (-pair[1].score / pair[1].critical, pair[0].name))


def _result(baseline: FrozenBaseline, verdict: ColumnVerdict, check: Check, history: Sequence[TableSketch], psi_bins: int) -> CheckResult:
    column = baseline.by_name[verdict.name]
    sketch = merged_column(history, verdict.name, check.lookback)
    before, after = column.sketch.counts, sketch.counts
    if check.name == "psi":
        before, after = grouped(column, after, psi_bins)
    counts = {"baseline_counts": tuple(before.tolist()), "window_counts": tuple(after.tolist())} if not check.is_share else {}
    # A share check says how many values are missing or wrong; which of the others moved would only distract.
    moved = () if check.is_share else tuple(Shift(label=label[:200], baseline=b, window=w) for label, b, w in largest_moves(column, sketch))
    return CheckResult(
        column=verdict.name, check=check.name, score=check.score, threshold=check.threshold, critical=min(check.critical, _FINITE),
        p_value=check.p_value, n=check.n, baseline_n=check.m, interval=check.interval, bracket=check.bracket,
        lookback=check.lookback, moved=moved, **counts,
    )  # fmt: skip
