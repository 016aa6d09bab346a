"""What a section hands back, and how it is printed and written: tables, goals beside what was measured, data for the pictures."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs"
PAGE = DOCS / "quality.md"
FOLDER = DOCS / "quality"
_PLACE = re.compile(r"^<!-- (tables|picture|why|goals|peers) ?([\w.-]*) ?(.*?) ?-->$", re.M)


@dataclass(frozen=True)
class Goal:
    """A promise and what became of it.

    Args:
        key: for the notes, `section.word`.
        text: what is promised, for people.
        limit: the number promised.
        measured: the number found.
        most: whether the number may be at most, rather than must be at least, the limit.
        note: behind which numbers of windows.
        judged: whether enough windows were run to say; a quick run often cannot.
    """

    key: str
    text: str
    limit: float
    measured: float
    most: bool = True
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether it is kept."""
        return self.measured <= self.limit if self.most else self.measured >= self.limit

    @property
    def outcome(self) -> str:
        """In words, by how much it was missed included."""
        return "met" if self.met else f"**missed by {abs(self.measured - self.limit):.3g}**"


@dataclass(frozen=True)
class Table:
    """Rows of text under a head."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """Return it as Markdown."""
        lines = [*([f"**{self.title}**", ""] if self.title else []), _line(self.head), _line(["---", *["--:"] * (len(self.head) - 1)])]
        return "\n".join([*lines, *(_line(row) for row in self.rows)])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


@dataclass(frozen=True)
class Section:
    """One section's results; `data` is what its picture is drawn from."""

    goals: Sequence[Goal] = ()
    tables: Sequence[Table] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    skipped: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Section:
        """Read back `to_json`."""
        return cls(
            [Goal(**goal) for goal in found["goals"]], [Table(**table) for table in found["tables"]], found["data"], found["skipped"]
        )


def rate(count: int, total: int) -> str:
    """Return a rate per 1,000; nothing seen is not a rate of zero, so its 95 % upper limit stands beside it (rule of three)."""
    if not total:
        return "–"
    if count == 0:
        return f"0 (≤ {number(3000 / total)})"
    return number(1000 * count / total)


def number(value: float) -> str:
    """Return two significant digits, whole from 10 on."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def size(rows: int) -> str:
    """Return 100, 1k, 10k, 1M."""
    return f"{rows // 1_000_000}M" if rows >= 1_000_000 else f"{rows // 1000}k" if rows >= 1000 else str(rows)


def share(count: int, total: int) -> str:
    """Return a share as 0.xx, or – of nothing."""
    return f"{count / total:.2f}" if total else "–"


def load() -> dict[str, Section]:
    """Read the figures of the last full run."""
    path = FOLDER / "figures.json"
    return {name: Section.from_json(found) for name, found in json.loads(path.read_text()).items()} if path.exists() else {}


def save(sections: Mapping[str, Section]) -> None:
    """Write the figures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    text = json.dumps({name: section.to_json() for name, section in sections.items()}, indent=1, ensure_ascii=False)
    (FOLDER / "figures.json").write_text(text + "\n")


def page(sections: Mapping[str, Section]) -> str:
    """Merge the figures into the notes."""

    def fill(found: re.Match[str]) -> str:
        what, key, rest = found.groups()
        if what == "goals":
            return goals(sections).markdown()
        if what == "why":
            return rest if any(goal.key == key and not goal.met for section in sections.values() for goal in section.goals) else ""
        section = sections.get(key)
        if section is None:
            return "*Not run.*" if what == "tables" else ""
        if section.skipped:
            return f"*Skipped: {section.skipped}.*" if what == "tables" else ""
        if what == "picture":
            return f"![{rest}](quality/{key}.svg)"
        return "\n\n".join(table.markdown() for table in section.tables)

    text = _PLACE.sub(fill, (HERE / "notes.md").read_text())
    return re.sub(r"\n{3,}", "\n\n", text)


def goals(sections: Mapping[str, Section]) -> Table:
    """Return every goal beside what was measured."""
    rows = [
        [goal.text, f"{'≤' if goal.most else '≥'} {goal.limit:g}", f"{goal.measured:.3g}", goal.note, goal.outcome]
        for section in sections.values()
        for goal in section.goals
    ]
    return Table("", ["goal", "limit", "measured", "behind it", "outcome"], rows)


def unexplained(sections: Mapping[str, Section]) -> list[str]:
    """Return the goals that were missed without a word in the notes on why."""
    notes = (HERE / "notes.md").read_text()
    missed = [goal.key for section in sections.values() for goal in section.goals if not goal.met]
    return [key for key in missed if f"<!-- why {key} " not in notes]
