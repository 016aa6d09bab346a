"""What is wrong with the data itself: signs that a pipeline broke, by which a model must not be trained on what moved.

None of them alarms: what alarms are the checks. They say whether what alarmed can be trusted. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final, Literal

import numpy as np

from driftsonde.core.drift.verdict import ColumnVerdict, Verdict
from driftsonde.core.monitoring.baseline import FrozenBaseline
from driftsonde.core.sketch.counts import Counts
from driftsonde.core.sketch.numeric import NumericBins
from driftsonde.core.sketch.table import TableSketch

ProblemKind = Literal[
    "nulls", "invalid", "unseen", "schema", "unreadable", "duplicate_rows", "constant_column", "beyond_range", "volume"
]  # fmt: skip

REPEATED: Final = 0.25
"""So much larger than in the baseline may the share of distinct rows be that are there more than once."""
VOLUME: Final = 0.2
"""A window with fewer than this share of the usual rows has lost some."""
USUAL: Final = 5
"""Windows that it takes to know what is usual."""
_VARIED: Final = 0.9  # a column of whose baseline one value holds more than this was all but constant before
_LISTED: Final = 5


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        kind: which.
        text: the same in a sentence, with figures.
    """

    kind: ProblemKind
    text: str


def problems(
    verdict: Verdict, baseline: FrozenBaseline, window: TableSketch, usual: Sequence[int], *, min_rows: int
) -> tuple[Problem, ...]:
    """Say what is wrong with a window's data.

    Args:
        window: its own counts, without a look-back.
        usual: rows of the windows before it, any number of them.
        min_rows: values that a column needs to be called constant.
    """
    found = [*_broken(verdict), *_shares(verdict), *_columns(baseline, window, min_rows), *_rows(baseline, window, usual)]
    return tuple(found)


def _broken(verdict: Verdict) -> Iterator[Problem]:
    missing = [column.name for column in verdict.columns if column.status == "missing_column"]
    changed = [column.name for column in verdict.columns if column.status == "type_changed"]
    if missing or changed:
        parts = [_names("missing", missing), _names("of another type than before", changed)]
        yield Problem("schema", f"the schema broke: {'; '.join(part for part in parts if part)}")
    for text in verdict.broken:
        if "could not be" in text:
            yield Problem("unreadable", text)


def _shares(verdict: Verdict) -> Iterator[Problem]:
    for kind, words in (("nulls", "missing values"), ("invalid", "invalid values")):
        columns = [column.name for column in verdict.columns if _fails(column, kind)]
        if columns:
            yield Problem("nulls" if kind == "nulls" else "invalid", _names(f"the share of {words} changed in", columns))
    failing = {check.name for column in verdict.columns for check in column.failing}
    if failing == {"outside"}:
        yield Problem("unseen", "only values that the baseline has never seen rose; no distribution moved")


def _columns(baseline: FrozenBaseline, window: TableSketch, min_rows: int) -> Iterator[Problem]:
    constant: list[str] = []
    beyond: list[str] = []
    for column in baseline.columns:
        now, before = window.column(column.name).counts, column.sketch.counts
        if column.kind == "empty" or now.sum() < min_rows or _heaviest(before) > _VARIED or _heaviest(now) < 1:
            continue
        place, last = int(np.argmax(now)), len(now) - 1
        numeric = isinstance(column.bins, NumericBins)
        if not numeric and place == last - 1:
            continue  # all of the rare levels together
        (beyond if place == last or (numeric and place == 0) else constant).append(column.name)
    if constant:
        yield Problem("constant_column", _names("one value, or one bin of values, is all that there is in", constant))
    if beyond:
        yield Problem("beyond_range", _names("no value was ever seen before in", beyond))


def _rows(baseline: FrozenBaseline, window: TableSketch, usual: Sequence[int]) -> Iterator[Problem]:
    # Of the same distribution more rows repeat more often, but no more than in proportion.
    before, now = baseline.repeated, window.sample.repeated
    if now > REPEATED + before * max(1.0, window.rows / baseline.rows):
        yield Problem(
            "duplicate_rows",
            f"{now:.0%} of the distinct rows are there more than once, {before:.0%} in the baseline",
        )
    # Nights may be as quiet every day as this window: then it is not less than half of the least.
    if len(usual) >= USUAL and window.rows < min(VOLUME * median(usual), min(usual) / 2):
        yield Problem("volume", f"{window.rows:,} rows, where {median(usual):,.0f} are usual")


def _fails(column: ColumnVerdict, check: str) -> bool:
    return any(failing.name == check for failing in column.failing)


def _heaviest(counts: Counts) -> float:
    total = counts.sum()
    return float(counts.max() / total) if total else 0.0


def _names(what: str, columns: Sequence[str]) -> str:
    if not columns:
        return ""
    more = f" and {len(columns) - _LISTED} more" if len(columns) > _LISTED else ""
    return f"{what} {', '.join(columns[:_LISTED])}{more}"
