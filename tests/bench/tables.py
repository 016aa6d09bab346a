"""What a section hands back: tables, and goals with the figure that was measured. Survives a trip through JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Goal:
    """A goal beside what was measured.

    Args:
        what: the goal, in words.
        limit: what must be reached.
        measured: None if it could not be measured.
        at_least: whether more is better.
        unit: follows the figure, for instance `×`.
        stretch: what the best measurements make possible.
    """

    what: str
    limit: float
    measured: float | None
    at_least: bool = True
    unit: str = "×"
    stretch: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether it was reached; None if it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit

    def cells(self) -> tuple[str, str, str, str]:
        """Return the goal, its limit, the figure and the outcome, as text."""
        sign = "≥" if self.at_least else "≤"
        limit = f"{sign} {figure(self.limit)} {self.unit}"
        if self.stretch is not None:
            limit += f" (stretch {figure(self.stretch)})"
        measured = "–" if self.measured is None else f"{figure(self.measured)} {self.unit}"
        return self.what, limit, measured, self._outcome()

    def _outcome(self) -> str:
        if self.measured is None:
            return "not measured"
        if self.met:
            return "met"
        return f"missed by {abs(self.measured / self.limit - 1):.0%}"


@dataclass(frozen=True)
class Table:
    """One table of a section; the first column is text, the others are aligned to the right."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    goals: tuple[Goal, ...] = ()


def to_json(tables: Sequence[Table]) -> list[dict[str, Any]]:
    """Turn tables into what `json.dumps` takes."""
    return [asdict(table) for table in tables]


def from_json(data: Sequence[dict[str, Any]]) -> list[Table]:
    """Read back `to_json`."""
    return [
        Table(
            item["title"], tuple(item["head"]), tuple(tuple(row) for row in item["rows"]), item["note"],
            tuple(Goal(**goal) for goal in item["goals"]),
        )
        for item in data
    ]  # fmt: skip


def figure(value: float) -> str:
    """Write a number with three significant digits, and none behind the point from 100 on."""
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def size(count: int) -> str:
    """Write a number of rows: 45, 10k, 1M."""
    for unit, name in ((1_000_000, "M"), (1_000, "k")):
        if count >= unit:
            return f"{count / unit:g}{name}"
    return str(count)
