"""The columns of a report: what their checks say, and the counts that are drawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.drift.checks import METHODS, Check
from driftsonde.core.drift.lookback import merged_column
from driftsonde.core.drift.psi import level_groups, numeric_groups, psi_terms
from driftsonde.core.drift.verdict import Verdict
from driftsonde.core.events import Alarm, CheckResult, FailingCheck
from driftsonde.core.report.model import BriefColumn, Categories, CheckRow, Column, Numbers, PsiGroup, ShareRow
from driftsonde.core.report.scales import short
from driftsonde.core.sketch.categorical import Levels
from driftsonde.core.sketch.column import ColumnBaseline
from driftsonde.core.sketch.counts import ColumnSketch
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import TableSketch
from driftsonde.core.text import clean
from driftsonde.core.verifying import Finding

MAX_FULL = 20
MAX_LISTED = 500
NEVER = 1e9
"""What events say in place of an infinite critical value."""

_DISTRIBUTION = ("ks", "tv")
_MOST_LEVELS = 14  # rows of a picture
_LARGEST = 1.7e308  # of what is drawn: the first edge may be -inf


@dataclass(frozen=True, slots=True)
class Judged:
    """A column as it was judged, under its real name.

    Args:
        status: of the verdict: `drift`, `suspect`, ...
        counts: of the window over the baseline's bins, if the event carries them.
    """

    name: str
    status: str
    checks: tuple[CheckRow, ...]
    counts: tuple[int, ...] | None = None

    @property
    def drawn_over(self) -> int:
        """How many windows its pictures merge: as many as the distance did, or else the worst check."""
        distance = (check for check in self.checks if check.name in _DISTRIBUTION)
        return next((check.lookback for check in (*distance, *self.checks)), 1)


def judged_by_event(alarm: Alarm, findings: Sequence[Finding], statuses: Mapping[str, str]) -> list[Judged]:
    """Return an event's columns, worst first; what it leaves out of its lesser checks is taken from what was computed again."""
    rows: dict[str, list[CheckRow]] = {name: [] for name in alarm.columns}
    counts: dict[str, tuple[int, ...]] = {}
    for check, finding in zip((*alarm.checks, *alarm.more), findings, strict=True):
        rows.setdefault(check.column, []).append(_row_of_event(check, finding))
        if isinstance(check, CheckResult) and check.check in _DISTRIBUTION and check.window_counts is not None:
            counts[check.column] = check.window_counts
    broken = {"missing_column", "type_changed"}
    return [
        Judged(name, statuses[name] if statuses.get(name) in broken else "drift", tuple(checks), counts.get(name))
        for name, checks in rows.items()
    ]


def judged_again(verdict: Verdict) -> list[Judged]:
    """Return a verdict's columns, those that alarm first, worst first."""

    def worst(column: Judged) -> tuple[bool, bool, float, str]:
        most = max((check.score / max(check.critical, 1e-12) for check in column.checks), default=0.0)
        return column.status not in ("drift", "missing_column", "type_changed"), column.status != "suspect", -most, column.name

    found = [
        Judged(column.name, column.status, tuple(sorted((_row_of_check(check) for check in column.checks), key=_strength)))
        for column in verdict.columns
    ]
    return sorted(found, key=worst)


def worst_of(judged: Sequence[Judged]) -> list[Judged]:
    """Return the worst of what drifted, or may have; they are shown in full."""
    return [one for one in judged if one.status in ("drift", "suspect", "type_changed") and one.checks][:MAX_FULL]


def full_columns(
    judged: Sequence[Judged], columns: Mapping[str, ColumnBaseline], tables: Sequence[TableSketch], psi_bins: int
) -> list[Column]:
    """Return columns with the counts that are drawn."""
    return [_full(one, columns.get(one.name), tables, psi_bins) for one in judged]


def brief_columns(judged: Iterable[Judged]) -> list[BriefColumn]:
    """Return columns for the table of the others."""
    return [BriefColumn(clean(one.name), one.status.replace("_", " "), next(iter(one.checks), None)) for one in judged]


def _row_of_event(check: FailingCheck, finding: Finding) -> CheckRow:
    plain = (check.check, check.score, check.threshold, check.critical, check.lookback, True)
    if isinstance(check, CheckResult):
        return CheckRow(*plain, check.n, check.baseline_n, check.p_value, check.interval, check.certain, clean(check.method, 120))
    found = finding.recomputed
    method = METHODS.get(check.check, "")
    if found is None:
        return CheckRow(*plain, method=method)
    return CheckRow(*plain, found.n, found.m, found.p_value, found.interval, found.certain, method)


def _row_of_check(check: Check) -> CheckRow:
    return CheckRow(
        check.name, check.score, check.threshold, min(check.critical, NEVER), check.lookback, check.drift, check.n, check.m, check.p_value,
        check.interval, check.certain, METHODS.get(check.name, ""),
    )  # fmt: skip


def _strength(check: CheckRow) -> tuple[bool, float]:
    return not check.alarms, -check.score / max(check.critical, 1e-12)


def _full(one: Judged, column: ColumnBaseline | None, tables: Sequence[TableSketch], psi_bins: int) -> Column:
    name = clean(one.name)
    if column is None:
        return Column(name, "", one.checks)
    plain = Column(name, column.kind, one.checks, one.drawn_over)
    if tables:
        now = merged_column(tables, one.name, one.drawn_over)
        shares = tuple(_shares(column, now))
    elif one.counts is not None and len(one.counts) == column.size:
        now, shares = ColumnSketch(np.array(one.counts, dtype=np.int64)), ()
    else:
        return plain
    if not now.valid or not column.sketch.valid:
        return Column(name, column.kind, one.checks, plain.windows, shares=shares)
    groups = tuple(_psi_groups(column, now, psi_bins))
    if isinstance(column.bins, NumericBins):
        return Column(
            name, column.kind, one.checks, plain.windows, numbers=_numbers(column.bins, column.sketch, now), psi=groups, shares=shares
        )
    categories = _categories(column.bins, column.sketch, now) if column.bins else None
    return Column(name, column.kind, one.checks, plain.windows, categories=categories, psi=groups, shares=shares)


def _numbers(bins: NumericBins, before: ColumnSketch, now: ColumnSketch) -> Numbers:
    return Numbers(
        tuple(np.clip(bins.edges, -_LARGEST, _LARGEST).tolist()),
        tuple(bins.single_valued().tolist()),
        tuple(before.counts.tolist()),
        tuple(now.counts.tolist()),
    )


def _categories(levels: Levels, before: ColumnSketch, now: ColumnSketch) -> Categories:
    """Return the levels that are common on either side, or moved; the others as one."""
    p, q = before.counts / before.valid, now.counts / now.valid
    there = np.flatnonzero((p > 0) | (q > 0))
    weight = np.maximum(p, q) + 10 * np.abs(p - q)
    chosen = there if len(there) <= _MOST_LEVELS else there[np.argsort(-weight[there], kind="stable")[: _MOST_LEVELS - 1]]
    chosen = chosen[np.argsort(-p[chosen], kind="stable")]
    labels, shares = [clean(levels.label(int(i)), 40) for i in chosen], (p[chosen].tolist(), q[chosen].tolist())
    rest = len(there) - len(chosen)
    if rest:
        labels.append(f"({rest} others)")
        for side, all_of_them in zip(shares, (p, q), strict=True):
            side.append(max(0.0, float(all_of_them.sum() - sum(side))))
    return Categories(tuple(labels), tuple(shares[0]), tuple(shares[1]))


def _psi_groups(column: ColumnBaseline, now: ColumnSketch, psi_bins: int) -> Iterable[PsiGroup]:
    before = column.sketch.counts
    levels = column.bins if isinstance(column.bins, Levels) else None
    groups = level_groups(before) if levels else numeric_groups(before, psi_bins)
    a, b = groups.sums(before), groups.sums(now.counts)
    there = (a > 0) | (b > 0) if levels else np.ones(len(a), dtype=bool)
    terms = np.zeros(len(a))
    terms[there] = psi_terms(a[there], b[there])
    ends = [*groups.starts[1:].tolist(), len(groups.order)]
    for place in np.flatnonzero(there).tolist():
        members = groups.order[int(groups.starts[place]) : ends[place]]
        label = _level_group(levels, members) if levels else _interval(column.bins, members)
        yield PsiGroup(label, float(a[place] / a.sum()), float(b[place] / b.sum()), float(terms[place]))


def _level_group(levels: Levels, members: NDArray[np.intp]) -> str:
    return clean(levels.label(int(members[0])), 40) if len(members) == 1 else f"({len(members)} rare levels)"


def _interval(bins: Any, members: NDArray[np.intp]) -> str:
    """Say which values a run of bins holds."""
    first, last, edges = int(members[0]), int(members[-1]), bins.edges
    if first == last:
        return str(bins.label(first))
    if first == 0:
        return f"≤ {short(edges[last])}" if last < len(edges) else "all"
    one_value = bins.single_valued()[first]  # then its left edge is the float just below
    if last == len(edges):
        return f"≥ {short(edges[first])}" if one_value else f"> {short(edges[first - 1])}"
    return f"[{short(edges[first])}, {short(edges[last])}]" if one_value else f"({short(edges[first - 1])}, {short(edges[last])}]"


def _shares(column: ColumnBaseline, now: ColumnSketch) -> Iterable[ShareRow]:
    before = column.sketch
    if now.rows:
        yield ShareRow("null", before.nulls / max(before.rows, 1), now.nulls / now.rows)
    if now.valid + now.invalid:
        yield ShareRow("invalid", before.invalid / max(before.rows - before.nulls, 1), now.invalid / (now.valid + now.invalid))
    if not now.valid or not column.tests_outside:
        return
    if column.kind == "numeric":
        yield ShareRow("outside the baseline's range", 0.0, int(now.counts[0] + now.counts[-1]) / now.valid)
    else:
        # Good–Turing: what is seen once tells how much is still unseen.
        yield ShareRow(
            "in levels never seen (before: as many as expected)",
            column.singletons / max(before.valid, 1),
            int(now.counts[-1]) / now.valid,
        )
