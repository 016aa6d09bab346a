"""What a report says, as plain values: text that came with data is already one harmless line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from driftsonde.core.events import DropRef

Word = Literal["ok", "warning", "drift", "insufficient", "untrusted", "unjudged"]


@dataclass(frozen=True, slots=True)
class CheckRow:
    """One check's figures; None where the event left them out and nothing is stored to compute them from.

    Args:
        lookback: windows that were merged.
        certain: whether binning leaves the answer open (`certain` of the event).
    """

    name: str
    score: float
    threshold: float
    critical: float
    lookback: int
    alarms: bool
    n: int | None = None
    baseline_n: int | None = None
    p_value: float | None = None
    interval: tuple[float, float] | None = None
    certain: bool = True
    method: str = ""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Counts of both sides over the bins of a numeric column: bin i is (edges[i-1], edges[i]], the outer two are open."""

    edges: tuple[float, ...]
    single: tuple[bool, ...]
    before: tuple[int, ...]
    now: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Categories:
    """Shares of both sides by category."""

    labels: tuple[str, ...]
    before: tuple[float, ...]
    now: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class PsiGroup:
    """What a group of bins or levels adds to the index."""

    label: str
    before: float
    now: float
    term: float


@dataclass(frozen=True, slots=True)
class ShareRow:
    """A share of values, before and now."""

    name: str
    before: float
    now: float


@dataclass(frozen=True, slots=True)
class Column:
    """A column shown in full.

    Args:
        windows: how many were merged for its pictures.
    """

    name: str
    kind: str
    checks: tuple[CheckRow, ...]
    windows: int = 1
    numbers: Numbers | None = None
    categories: Categories | None = None
    psi: tuple[PsiGroup, ...] = ()
    shares: tuple[ShareRow, ...] = ()


@dataclass(frozen=True, slots=True)
class BriefColumn:
    """A column in the table of the others: its strongest check, if it has one."""

    name: str
    status: str
    check: CheckRow | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    """A window in the strip."""

    name: str
    when: str
    word: Word
    episodes: tuple[int, ...]
    subject: bool


@dataclass(frozen=True, slots=True)
class Step:
    """Something that was done, or said."""

    when: str
    who: str
    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Gate:
    """Champion and challenger on the same rows."""

    metric: str
    direction: str
    champion: float | None
    challenger: float
    margin: float
    rows: int
    promoted: bool


@dataclass(frozen=True, slots=True)
class Fact:
    """A name and what it is, in the tables of quality and of repeating."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Report:
    """Everything on the page.

    Args:
        title: e.g. `churn, episode 7`.
        sentence: what moved, by how much, since when, what was done.
        word: the verdict.
        more_marks: windows before and after those in the strip.
        full: worst first.
        others: what is not in full.
        unlisted: columns that are not even in the table.
        note: why pictures are missing, if they are.
        decided: the decision record.
        recomputed: how the checks of the event compare with their counts.
        command: what repeats the verdict.
        event: the opening event as `verify` reads it; empty for a window.
        data: everything else, machine-readable.
    """

    title: str
    sentence: str
    word: Word
    state: str
    marks: tuple[Mark, ...]
    more_marks: tuple[int, int]
    full: tuple[Column, ...]
    others: tuple[BriefColumn, ...]
    unlisted: int
    note: str
    quality: tuple[Fact, ...]
    rejected: tuple[Fact, ...]
    decided: tuple[Fact, ...]
    steps: tuple[Step, ...]
    gate: Gate | None
    repeat: tuple[Fact, ...]
    policy: tuple[Fact, ...]
    drops: tuple[DropRef, ...]
    recomputed: str
    command: str
    event: str
    data: dict[str, Any]
