"""From a verdict to what is said about it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from driftsonde.core.drift.checks import METHODS, Check, largest_moves
from driftsonde.core.drift.lookback import merged_column
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.recompute import Evidence, evidence
from driftsonde.core.drift.verdict import ColumnVerdict, Verdict
from driftsonde.core.events import (
    MAX_CHECKS,
    MAX_MORE,
    BaselineRef,
    CheckResult,
    DataUntrusted,
    DriftDetected,
    DropRef,
    FailingCheck,
    Problem,
    Shift,
    SketchesRef,
    WindowRef,
)
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.monitoring.quality import problems
from driftsonde.core.sketch.codec import digest_tables
from driftsonde.core.sketch.table import TableSketch

_FINITE = 1e9
_TEXT_CHARS = 2000
_NEW_LISTED, _NEW_CHARS = 100, 256  # of columns that the baseline does not know: drops may bring any number of them


def announce(
    monitor: str, episode: int, verdict: Verdict, window: WindowRef, baseline: FrozenBaseline, reference: BaselineRef,
    history: Sequence[TableSketch], drops: Sequence[DropRef], parameters: Parameters, *, usual: Sequence[int] = (),
) -> DriftDetected | DataUntrusted:  # fmt: skip
    """Return the event that opens an episode.

    Args:
        history: sketches of the look-back, oldest first, the judged window last.
        usual: rows of the windows before it.
    """
    wrong = problems(verdict, baseline, history[-1], usual, min_rows=parameters.min_rows)
    failing = _failing(verdict)
    checks = tuple(_result(baseline, column, check, history, parameters.psi_bins) for column, check in failing[:MAX_CHECKS])
    more = tuple(FailingCheck(**_brief(column, check)) for column, check in failing[MAX_CHECKS : MAX_CHECKS + MAX_MORE])
    columns = tuple(dict.fromkeys([*(column.name for column, _ in failing), *(c.name for c in verdict.columns if c.alarms)]))
    common: dict[str, Any] = {
        "monitor": monitor, "episode": episode, "sequence": 1, "window": window, "baseline": reference,
        "summary": summarise(verdict), "columns": columns, "checks": checks, "more": more, "failing": len(failing),
        "level": verdict.level, "margin": parameters.margin, "psi_bins": parameters.psi_bins,
        "sketches": sketches_of(monitor, window.id, history),
        "problems": tuple(Problem(kind=problem.kind, text=problem.text[:_TEXT_CHARS]) for problem in wrong),
    }  # fmt: skip
    if verdict.word == "untrusted":
        return DataUntrusted(**common)
    return DriftDetected(**common, drops=tuple(drops), trainable=verdict.trainable and not wrong)


def sketches_of(monitor: str, window: str, history: Sequence[TableSketch]) -> SketchesRef:
    """Say where the sketches of a look-back are, and what they are."""
    link = f"/api/monitors/{monitor}/sketches?window={quote(window, safe='')}&lookback={len(history)}"
    return SketchesRef(link=link, windows=len(history), digest=digest_tables(history))


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
            entry |= {
                "check": shown.name,
                "score": round(shown.score, 6),
                "critical": round(shown.critical, 6),
                "lookback": shown.lookback,
                "n": shown.n,
            }
            entry["p_unchanged"] = min((check.p_unchanged for check in column.checks if check.name in ("ks", "tv")), default=1.0)
        columns[column.name] = entry
    return {
        "summary": summarise(verdict),
        "columns": columns,
        "new": [name[:_NEW_CHARS] for name in verdict.new[:_NEW_LISTED]],
        "broken": list(verdict.broken),
    }


def _failing(verdict: Verdict) -> list[tuple[ColumnVerdict, Check]]:
    pairs = [(column, check) for column in verdict.columns for check in column.failing]
    return sorted(pairs, key=lambda pair: (-pair[1].score / pair[1].critical, pair[0].name))


def _result(baseline: FrozenBaseline, verdict: ColumnVerdict, check: Check, history: Sequence[TableSketch], psi_bins: int) -> CheckResult:
    column = baseline.by_name[verdict.name]
    sketch = merged_column(history, verdict.name, check.lookback)
    # A share check says how many values are missing or wrong; which of the others moved would only distract.
    moved = () if check.is_share else tuple(Shift(label=label[:200], baseline=b, window=w) for label, b, w in largest_moves(column, sketch))
    return CheckResult(
        **_brief(verdict, check), method=METHODS.get(check.name, ""), p_value=check.p_value, n=check.n, baseline_n=check.m,
        interval=check.interval, bracket=check.bracket, certain=check.certain, moved=moved,
        **_counts(evidence(column, sketch, check.name, psi_bins)),
    )  # fmt: skip


def _brief(verdict: ColumnVerdict, check: Check) -> dict[str, Any]:
    return {
        "column": verdict.name, "check": check.name, "score": check.score, "threshold": check.threshold,
        "critical": min(check.critical, _FINITE), "lookback": check.lookback,
    }  # fmt: skip


def _counts(found: Evidence) -> dict[str, Any]:
    """Return what a check is computed from as fields of its result."""
    if found.share is not None:
        share = found.share
        return {"counted": share.counted, "baseline_counted": share.baseline_counted, "expected": share.expected}
    counts = {"baseline_counts": found.baseline, "window_counts": found.window}
    return counts | ({"single_valued": found.single_valued} if found.single_valued else {})
