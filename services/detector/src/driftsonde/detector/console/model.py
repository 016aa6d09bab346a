"""What the console shows, as plain values: text that came with data is already one harmless line."""

from __future__ import annotations

from dataclasses import dataclass

from driftsonde.core.report.model import Fact, Mark, Step, Word


@dataclass(frozen=True, slots=True)
class Gauge:
    """Something that waits.

    Args:
        raised: whether somebody should look.
    """

    name: str
    value: str
    note: str = ""
    raised: bool = False


@dataclass(frozen=True, slots=True)
class Pager:
    """Where a list stands of which a page is shown; addresses are empty at its ends."""

    first: int
    last: int
    total: int
    newer: str = ""
    older: str = ""


@dataclass(frozen=True, slots=True)
class EpisodeLine:
    """An episode.

    Args:
        state: since when it is open, or when it was.
        answer: what was done about it.
        decided: the decision record.
        report: the address of its report.
    """

    monitor: str
    number: int
    word: Word
    state: str
    summary: str
    report: str
    answer: str = ""
    decided: tuple[Fact, ...] = ()


@dataclass(frozen=True, slots=True)
class MonitorLine:
    """A monitor among others.

    Args:
        word: its last verdict; `unjudged` if there is none.
        judged: when, and over which window.
        drops: how many, by what became of them.
        marks: the latest windows, oldest first.
        waiting: windows that are to be judged, in words; empty if none.
        open: numbers of its open episodes, with the addresses of their reports.
    """

    name: str
    address: str
    word: Word
    judged: str
    baseline: str
    drops: str
    marks: tuple[Mark, ...]
    waiting: str
    open: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Fleet:
    """The first page.

    Args:
        episodes: those that are open, newest first.
        more_episodes: open ones that are not listed.
    """

    made: str
    gauges: tuple[Gauge, ...]
    episodes: tuple[EpisodeLine, ...]
    more_episodes: int
    monitors: tuple[MonitorLine, ...]
    pager: Pager


@dataclass(frozen=True, slots=True)
class WindowLine:
    """A window in a table.

    Args:
        report: the address of its report; empty where it has no counts to be judged by.
        found: the columns that alarm, worst first, in words.
    """

    name: str
    report: str
    when: str
    rows: int
    word: Word
    revision: int
    judged: str
    found: str


@dataclass(frozen=True, slots=True)
class Rejection:
    """A drop that was refused."""

    when: str
    drop: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class MonitorPage:
    """The page of a monitor.

    Args:
        marks: more of its windows than its line among others has.
        steps: the latest events, newest first.
    """

    made: str
    line: MonitorLine
    marks: tuple[Mark, ...]
    episodes: tuple[EpisodeLine, ...]
    more_episodes: int
    windows: tuple[WindowLine, ...]
    pager: Pager
    steps: tuple[Step, ...]
    rejected: tuple[Rejection, ...]
