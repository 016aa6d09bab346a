"""Which columns have series of their own. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from driftsonde.core.text import clean

MAX_COLUMNS: Final = 2_000
"""Over all monitors, three series each. Names of columns come from the baseline; this is what keeps them from being too many."""

_NAME_CHARS: Final = 120
_ALARMS: Final = ("drift", "missing_column", "type_changed")
_WORST: Final = 1e9


class Column(NamedTuple):
    """What was found in a column of a window, by the check that says most of it; without a check, by its status alone."""

    name: str
    drifted: bool
    check: str
    score: float
    threshold: float
    values: int | None

    @property
    def ratio(self) -> float:
        """How far the score is on its way to the threshold."""
        if self.threshold > 0:
            return min(self.score / self.threshold, _WORST)
        return _WORST if self.score > 0 else 0.0


Labels = tuple[str, str, str]


def columns_of(detail: str | None) -> list[Column]:
    """Return the columns of a window's stored detail, those that drifted first, worst first."""
    found = [
        Column(
            clean(name, _NAME_CHARS),
            entry["status"] in _ALARMS,
            entry.get("check", ""),
            float(entry.get("score", 0.0)),
            float(entry.get("critical", 0.0)),
            entry.get("n"),
        )
        for name, entry in json.loads(detail or "{}").get("columns", {}).items()
    ]
    return sorted(found, key=_urgency)


def picked(columns: Mapping[str, Sequence[Column]], *, top: int, cap: int) -> tuple[dict[Labels, Column], dict[str, int]]:
    """Choose the columns that have series: of each monitor the first `top` and all that drifted, over all monitors `cap`.

    Args:
        columns: by monitor, as `columns_of` orders them.

    Returns:
        The chosen ones by their labels, and how many were left out, by reason.
    """
    measured = {name: [column for column in found if column.check] for name, found in columns.items()}
    wanted = [(name, column) for name, found in measured.items() for place, column in enumerate(found) if place < top or column.drifted]
    wanted.sort(key=lambda pair: (*_urgency(pair[1]), pair[0]))
    shown: dict[Labels, Column] = {}
    for name, column in wanted[:cap]:
        shown.setdefault((name, column.name, column.check), column)
    return shown, {"rank": sum(map(len, measured.values())) - len(wanted), "cap": max(0, len(wanted) - cap)}


def _urgency(column: Column) -> tuple[bool, float, str]:
    return not column.drifted, -column.ratio, column.name
