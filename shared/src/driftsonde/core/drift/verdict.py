"""From checks to the verdict: look-back over past windows, the status of each column, the word for the window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from driftsonde.core.drift.checks import Check, CheckName
from driftsonde.core.drift.ks import Bracket
from driftsonde.core.drift.lookback import History, Outcome, look_back
from driftsonde.core.drift.optional import optional_checks
from driftsonde.core.drift.policy import Parameters
from driftsonde.core.drift.reference import DISTANCE, PSI, ROWS, Reference, thresholds_table
from driftsonde.core.sketch.column import ColumnBaseline, Kind
from driftsonde.core.sketch.table import TableSketch

Status = Literal["ok", "changed", "suspect", "drift", "insufficient_data", "missing_column", "type_changed"]
Word = Literal["ok", "warning", "drift", "insufficient", "untrusted"]

_TYPE_CHANGED_FROM = 0.5


@dataclass(frozen=True, slots=True)
class ColumnVerdict:
    """One column's result. `decided_by` is the check that alarmed first, with the look-back at which it did."""

    name: str
    kind: Kind
    status: Status
    checks: tuple[Check, ...] = ()
    decided_by: CheckName | None = None
    lookback: int | None = None

    @property
    def failing(self) -> tuple[Check, ...]:
        """The checks that alarm."""
        return tuple(check for check in self.checks if check.drift)

    @property
    def alarms(self) -> bool:
        """Whether people are told."""
        return self.status in ("drift", "missing_column", "type_changed")


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result for one window.

    Args:
        word: `ok`, `warning`, `drift`, `insufficient` or `untrusted`.
        rows: rows of the window.
        columns: every watched column, in the baseline's order.
        new: columns that the baseline does not know; listed, not tested.
        broken: why the data itself cannot be trusted; empty unless `untrusted`.
        level: what each check was allowed to spend.
    """

    word: Word
    rows: int
    columns: tuple[ColumnVerdict, ...]
    new: tuple[str, ...]
    broken: tuple[str, ...]
    level: float

    @property
    def alarms(self) -> bool:
        """Whether the window opens, or keeps open, an episode."""
        return self.word in ("drift", "untrusted")

    @property
    def trainable(self) -> bool:
        """Whether retraining can answer it: a distribution moved, and neither nulls nor invalid values did.

        When only the quality of the values changed, or changed too, the data needs fixing, not the model.
        """
        failing = [check.name for column in self.columns for check in column.failing]
        moved = any(name not in ("nulls", "invalid", "outside") for name in failing)
        return self.word == "drift" and moved and not any(name in ("nulls", "invalid") for name in failing)


class Judge:
    """A policy over a baseline's columns.

    Args:
        columns: the baseline's watched columns.
        parameters: the policy.
    """

    def __init__(self, columns: Sequence[ColumnBaseline], parameters: Parameters) -> None:
        self.parameters = parameters
        self.level = parameters.level(len(columns))
        self._reference = Reference(columns, parameters.psi_bins)
        self._thresholds = thresholds_table(columns, parameters)

    def window(self, windows: Sequence[TableSketch], *, described: bool = True) -> Verdict:
        """Judge the last of `windows`.

        Args:
            windows: sketches over the baseline in window order, oldest first, the judged one last. Untrusted windows of the
                past must have been left out; insufficient ones take part.
            described: whether columns come with their checks; without them it takes half as long.

        Raises:
            ValueError: if there is no window.
        """
        if not windows:
            raise ValueError("no window to judge")
        current, history = windows[-1], History(windows[-self.parameters.lookback :])
        outcome = look_back(self._reference, history, self._thresholds, self.parameters, self.level)
        columns = tuple(self._columns(current, history, outcome, described=described))
        broken = tuple(_broken(current, columns, self.parameters))
        return Verdict(_word(current, columns, broken), current.rows, columns, tuple(sorted(current.new)), broken, self.level)

    def _columns(self, current: TableSketch, history: History, outcome: Outcome, *, described: bool) -> Iterator[ColumnVerdict]:
        statuses = self._statuses(current, history, outcome)
        checks = self._checks(outcome) if described else [()] * len(statuses)
        for place, column in enumerate(self._reference.columns):
            if not history.has[place]:
                yield ColumnVerdict(column.name, column.kind, statuses[place])
                continue
            more = tuple(self._optional(column, current))
            mine, status = (*checks[place], *more), statuses[place]
            if status != "type_changed" and any(check.drift for check in more):
                status = "drift"
            decided = next((check for check in mine if check.drift), None)
            yield ColumnVerdict(
                column.name, column.kind, status, mine, decided.name if decided else None, decided.lookback if decided else None
            )

    def _optional(self, column: ColumnBaseline, current: TableSketch) -> Iterator[Check]:
        policy = self.parameters
        if policy.optional:
            yield from optional_checks(
                column, current.column(column.name), policy.optional, level=policy.optional_level(len(self._reference.columns)),
                min_rows=policy.min_rows, psi_bins=policy.psi_bins,
            )  # fmt: skip

    def _statuses(self, current: TableSketch, history: History, outcome: Outcome) -> list[Status]:
        """Say what each column's checks amount to; the last that holds counts."""
        first = outcome.single
        surely = first.there & (self._reference.p_values(first, np.zeros_like(self._thresholds)) <= self.level)
        surely[PSI] = False  # its law is only asymptotic
        given = current.valid + current.invalid
        status = np.where(surely.any(axis=0), "changed", "ok").astype("<U17")
        status[~outcome.enough] = "insufficient_data"
        status[(surely & (first.score >= self._thresholds)).any(axis=0)] = "suspect"
        status[outcome.decided] = "drift"
        status[(given > 0) & (current.invalid >= _TYPE_CHANGED_FROM * given)] = "type_changed"
        status[~history.has] = "missing_column" if current.rows else "insufficient_data"
        found: list[Status] = status.tolist()
        return found

    def _checks(self, outcome: Outcome) -> list[tuple[Check, ...]]:
        """Return each column's results as objects."""
        said = self._reference.describe(outcome.final, self._thresholds, margin=self.parameters.margin, level=self.level)
        final, numeric = outcome.final, self._reference.is_numeric.tolist()
        fields = [
            array.tolist()
            for array in (
                final.there, final.score, self._thresholds, said.critical, said.p_value, said.p_unchanged, final.n, self._reference.m,
                said.low, said.high, final.drift, outcome.scale,
            )
        ]  # fmt: skip
        upper = final.upper.tolist()
        found: list[list[Check]] = [[] for _ in numeric]
        for row, values in enumerate(zip(*fields, strict=True)):
            for place, (there, score, threshold, critical, p, p0, n, m, low, high, drift, scale) in enumerate(zip(*values, strict=True)):
                if there:
                    ks = row == DISTANCE and numeric[place]
                    name: CheckName = ("ks" if ks else "tv") if row == DISTANCE else ROWS[row]  # type: ignore[assignment]  # the others' names
                    bracket = Bracket(score, upper[place]) if ks else None
                    found[place].append(Check(name, score, threshold, critical, p, p0, n, m, (low, high), bracket, drift, scale))
        return [tuple(checks) for checks in found]


def judge_window(columns: Sequence[ColumnBaseline], windows: Sequence[TableSketch], parameters: Parameters) -> Verdict:
    """Judge the last of `windows`, once; who judges more often over the same baseline keeps a `Judge`.

    Raises:
        ValueError: if there is no window.
    """
    return Judge(columns, parameters).window(windows)


def _broken(window: TableSketch, columns: Sequence[ColumnVerdict], parameters: Parameters) -> Iterator[str]:
    if window.unreadable:
        yield f"{window.unreadable} drop{'s' if window.unreadable > 1 else ''} could not be read"
    total = window.rows + window.bad_rows
    if total and window.bad_rows / total > parameters.bad_rows:
        yield f"{window.bad_rows} of {total} rows could not be parsed"
    for column in columns:
        if column.status == "missing_column":
            yield f"column {column.name} is missing"
        elif column.status == "type_changed":
            yield f"column {column.name} changed its type"


def _word(window: TableSketch, columns: Sequence[ColumnVerdict], broken: Sequence[str]) -> Word:
    statuses = {column.status for column in columns}
    if broken:
        return "untrusted"
    if "drift" in statuses:
        return "drift"
    if "suspect" in statuses:
        return "warning"
    if statuses <= {"insufficient_data"}:
        return "insufficient"
    return "ok"
