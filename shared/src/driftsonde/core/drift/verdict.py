"""From checks to the verdict: look-back over past windows, the status of each column, the word for the window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from driftsonde.core.drift.checks import HYPOTHESES, Check, CheckName, Thresholds, run_checks
from driftsonde.core.sketch.column import ColumnBaseline, Kind
from driftsonde.core.sketch.table import ColumnSketch, TableSketch

Status = Literal["ok", "changed", "suspect", "drift", "insufficient_data", "missing_column", "type_changed"]
Word = Literal["ok", "warning", "drift", "insufficient", "untrusted"]

_TYPE_CHANGED_FROM = 0.5


@dataclass(frozen=True, slots=True)
class Parameters:
    """How windows are judged (statistics: 2.5)."""

    alpha: float = 0.001
    margin: float = 0.5
    thresholds: Thresholds = field(default_factory=Thresholds)
    columns: Mapping[str, Thresholds] = field(default_factory=dict)
    psi_bins: int = 10
    min_rows: int = 100
    lookback: int = 32
    bad_rows: float = 0.01

    def scales(self) -> list[int]:
        """Return how many windows are merged in turn: the powers of two up to `lookback`."""
        return [1 << power for power in range(self.lookback.bit_length())]

    def level(self, columns: int) -> float:
        """Return what each check may spend: alpha / (5 × columns × scales), Bonferroni's union bound."""
        return self.alpha / (HYPOTHESES * max(columns, 1) * len(self.scales()))

    def thresholds_of(self, column: ColumnBaseline) -> Thresholds:
        """Return a column's thresholds: its own or the common ones, raised where the baseline's own windows vary more."""
        base = self.columns.get(column.name, self.thresholds)
        return replace(base, **{name: max(value, getattr(base, name)) for name, value in column.thresholds.items()})


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
        moved = any(name in ("ks", "tv", "psi") for name in failing)
        return self.word == "drift" and moved and not any(name in ("nulls", "invalid") for name in failing)


def judge_window(columns: Sequence[ColumnBaseline], windows: Sequence[TableSketch], parameters: Parameters) -> Verdict:
    """Judge the last of `windows`.

    Args:
        columns: the baseline's watched columns.
        windows: sketches over that baseline in window order, oldest first, the judged one last. Untrusted windows of the
            past must have been left out; insufficient ones take part.
        parameters: the policy.

    Raises:
        ValueError: if there is no window.
    """
    if not windows:
        raise ValueError("no window to judge")
    current = windows[-1]
    level = parameters.level(len(columns))
    results = tuple(_judge_column(column, windows, parameters, level) for column in columns)
    broken = tuple(_broken(current, results, parameters))
    return Verdict(_word(current, results, broken), current.rows, results, tuple(sorted(current.new)), broken, level)


def _judge_column(column: ColumnBaseline, windows: Sequence[TableSketch], parameters: Parameters, level: float) -> ColumnVerdict:
    if not windows[-1].rows:  # nothing can be said of a column, least of all by merging what came before
        return ColumnVerdict(column.name, column.kind, "insufficient_data")
    if column.name not in windows[-1].columns:
        return ColumnVerdict(column.name, column.kind, "missing_column")
    history = [found for window in windows if (found := column_of(column, window)) is not None]
    first: dict[CheckName, Check] = {}
    decided: Check | None = None
    enough = False
    for scale in parameters.scales():
        if scale > len(history):
            break
        merged = merge_columns(history[-scale:])
        enough = enough or merged.valid >= parameters.min_rows
        for check in checks_at(column, merged, parameters, level, scale):
            known = first.get(check.name)
            # A check whose effect lies below the threshold at one scale is not evaluated at a larger one.
            if known is None or (known.score >= known.threshold and not known.drift):
                first[check.name] = check
                decided = decided or (check if check.drift else None)
        if decided or (enough and all(check.score < check.threshold for check in first.values())):
            break
    status = _status(column, history[-1], tuple(first.values()), decided, enough, parameters, level)
    return ColumnVerdict(
        column.name, column.kind, status, tuple(first.values()),
        decided.name if decided else None, decided.lookback if decided else None,
    )  # fmt: skip


def column_of(column: ColumnBaseline, window: TableSketch) -> ColumnSketch | None:
    """Return a column's counts in a window; rows of drops that lacked it count as nulls, unless all drops did."""
    found = window.columns.get(column.name)
    if found is None or found.rows >= window.rows:
        return found
    return ColumnSketch(found.counts, found.nulls + window.rows - found.rows, found.invalid)


def merge_columns(sketches: Sequence[ColumnSketch]) -> ColumnSketch:
    """Add up one or more sketches of a column."""
    total = sketches[0]
    for sketch in sketches[1:]:
        total = total + sketch
    return total


def checks_at(column: ColumnBaseline, merged: ColumnSketch, parameters: Parameters, level: float, scale: int) -> Iterator[Check]:
    """Run every check of a column on merged windows under a policy."""
    return run_checks(
        column, merged, thresholds=parameters.thresholds_of(column), margin=parameters.margin, level=level,
        min_rows=parameters.min_rows, psi_bins=parameters.psi_bins, lookback=scale,
    )  # fmt: skip


def _status(
    column: ColumnBaseline, window: ColumnSketch, checks: tuple[Check, ...], decided: Check | None, enough: bool,
    parameters: Parameters, level: float,
) -> Status:  # fmt: skip
    given = window.rows - window.nulls
    if given and window.invalid / given >= _TYPE_CHANGED_FROM:
        return "type_changed"
    if decided:
        return "drift"
    single = list(checks_at(column, window, parameters, level, 1))
    significant = [check for check in single if check.name != "psi" and check.p_unchanged <= level]
    if any(check.score >= check.threshold for check in significant):
        return "suspect"
    if not enough:
        return "insufficient_data"
    return "changed" if significant else "ok"


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
