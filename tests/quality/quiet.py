"""Nothing changes, or nothing worth an alarm: how often is there one all the same?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .data import draw_table, table
from .realdata import ShuffledRows, shuffled
from .report import Goal, Section, Table, number, rate, size
from .rules import PEERS, RuleFlags, TableRules
from .tasks import Task
from .watch import OURS, OURS_SMALL, Simulated, Watch, simulate

WOBBLE = 0.05
_CHUNKS = 20
_DRAWN = 4_000_000  # values held at once
RULES = (*PEERS, OURS, OURS_SMALL)


@dataclass(frozen=True)
class Cell:
    """One column of the printed table.

    Args:
        kind: `simulated`, or the name of a set of real rows.
        columns: of the table.
        rows: of each window.
        monitors: independent baselines.
        windows: judged by us, for each baseline.
        peers: windows of these that the other rules see.
        wobble: standard deviation of what moves every column's mean from window to window.
    """

    kind: str
    columns: int
    rows: int
    monitors: int
    windows: int
    peers: int
    wobble: float = 0.0

    @property
    def title(self) -> str:
        """The head of its column."""
        return f"{self.columns} col. n={size(self.rows)}" if self.kind == "simulated" else f"{self.kind} n={size(self.rows)}"


@dataclass
class Counts:
    """What was counted in a cell, by rule."""

    windows: Counter[str] = field(default_factory=Counter)
    alarms: Counter[str] = field(default_factory=Counter)
    columns: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)

    def add(self, rule: str, windows: int, alarms: int, columns: int, flags: int) -> None:
        """Count windows in which a rule could have alarmed."""
        self.windows[rule] += windows
        self.alarms[rule] += alarms
        self.columns[rule] += columns
        self.flags[rule] += flags

    def add_peers(self, found: RuleFlags) -> None:
        """Count what the other rules said."""
        for rule, flags in found.columns.items():
            self.add(rule, len(flags), int(found.alarms[rule].sum()), flags.size, int(flags.sum()))

    def add_ours(self, by_policy: Mapping[str, Sequence[frozenset[str]]], columns: int) -> None:
        """Count what our rule said."""
        for name, flags in by_policy.items():
            self.add(name, len(flags), sum(map(bool, flags)), len(flags) * columns, sum(map(len, flags)))

    def merge(self, other: Counts) -> None:
        """Fold another's counts in."""
        for name in ("windows", "alarms", "columns", "flags"):
            getattr(self, name).update(getattr(other, name))


def cells(quick: bool) -> list[Cell]:
    """Return what `quiet` runs."""
    if quick:
        simulated = [(5, 100, 2, 150, 150), (5, 1_000, 2, 100, 100), (50, 100, 1, 60, 60), (50, 1_000, 1, 60, 60), (50, 10_000, 1, 12, 12)]
    else:
        simulated = [
            (5, 100, 14, 720, 720), (5, 1_000, 8, 720, 720), (5, 10_000, 4, 720, 180), (5, 1_000_000, 2, 60, 40),
            (50, 100, 6, 720, 360), (50, 1_000, 6, 720, 180), (50, 10_000, 3, 720, 60), (50, 1_000_000, 2, 20, 10),
            (500, 100, 2, 360, 180), (500, 1_000, 2, 180, 60), (500, 10_000, 2, 40, 20),
        ]  # fmt: skip
    return [Cell("simulated", *numbers) for numbers in simulated]


def wobbling(quick: bool) -> list[Cell]:
    """Return what `wobble` runs."""
    if quick:
        return [Cell("simulated", 50, rows, 1, count, count, WOBBLE) for rows, count in ((100, 60), (1_000, 60), (10_000, 12))]
    numbers = [(100, 4, 720, 180), (1_000, 4, 720, 180), (10_000, 3, 360, 60), (1_000_000, 1, 20, 10)]
    return [Cell("simulated", 50, *found, WOBBLE) for found in numbers]


def quiet_tasks(quick: bool) -> Iterator[Task]:
    """Yield one task for each baseline."""
    for cell in cells(quick):
        yield from _tasks(cell)
    for rows in shuffled(quick):
        yield Task(_real, (rows,), rows.windows * 20.0 / rows.repeats)


def wobble_tasks(quick: bool) -> Iterator[Task]:
    """Yield one task for each baseline."""
    for cell in wobbling(quick):
        yield from _tasks(cell)


def _tasks(cell: Cell) -> Iterator[Task]:
    effort = cell.windows * cell.columns * (0.2 + cell.rows / 4000)
    return (Task(_simulated, (cell, monitor), effort / 50) for monitor in range(cell.monitors))


def _simulated(cell: Cell, monitor: int) -> tuple[str, Counts]:
    """Watch one table over windows in which nothing happens."""
    sim = simulate(table(cell.columns), (1, cell.columns, cell.rows, monitor, int(cell.wobble * 1000)))
    counts = Counts()
    rules = _peers(sim, cell)
    step = max(1, min(cell.windows, _DRAWN // (cell.rows * cell.columns)))
    for start in range(0, cell.windows, step):
        count = min(step, cell.windows - start)
        shifts = sim.random.normal(0, cell.wobble, (count, cell.columns)) if cell.wobble else None
        drawn = draw_table(sim.random, sim.columns, cell.rows, windows=count, shifts=shifts)
        counts.add_ours(sim.watch.flags_by_policy(sim.batches(drawn), cell.rows), cell.columns)
        if cell.peers > start:
            counts.add_peers(rules.flags({name: matrix[: cell.peers - start] for name, matrix in drawn.items()}))
    return cell.title, counts


def _peers(sim: Simulated, cell: Cell) -> TableRules:
    """Fit the other rules; NannyML's chunks are further rows, since the baseline has too few for windows of this size."""
    levels = {column.name: len(column.levels) for column in sim.columns if not column.numeric}
    rules = TableRules(sim.rows, levels)
    step = max(1, min(_CHUNKS, _DRAWN // (cell.rows * cell.columns)))
    for start in range(0, _CHUNKS, step):
        count = min(step, _CHUNKS - start)
        shifts = sim.random.normal(0, cell.wobble, (count, cell.columns)) if cell.wobble else None
        rules.learn(draw_table(sim.random, sim.columns, cell.rows, windows=count, shifts=shifts))
    return rules


def _real(rows: ShuffledRows) -> tuple[str, Counts]:
    """Watch windows of shuffled real rows: each shuffle gives a baseline, and windows of the other rows."""
    counts = Counts()
    for split in rows.splits():
        watch = Watch(split.baseline)
        counts.add_ours(watch.flags_by_policy(split.batches(), rows.rows), len(split.baseline.columns))
        rules = TableRules(split.rows, split.levels)
        rules.learn(split.chunks)
        counts.add_peers(rules.flags(split.windows))
    return rows.title, counts


def totals(results: Sequence[tuple[str, Counts]]) -> dict[str, Counts]:
    """Add up the counts of each cell, in order."""
    found: dict[str, Counts] = {}
    for title, counts in results:
        found.setdefault(title, Counts()).merge(counts)
    return found


def quiet(results: Sequence[tuple[str, Counts]], quick: bool) -> Section:
    """Print rates by rule and cell, and hold the worst of ours against the goals."""
    by_cell = totals(results)
    goals = []
    for rule, key, which in ((OURS, "quiet", ""), (OURS_SMALL, "quiet.small", ", min_rows 50, n = 100")):
        flags, columns = _sum(by_cell, "flags", rule), _sum(by_cell, "columns", rule)
        alarms, windows = _sum(by_cell, "alarms", rule), _sum(by_cell, "windows", rule)
        text = f"nothing changed{which}:"
        goals.append(
            Goal(f"{key}.flags", f"{text} false flags per 1,000 feature-windows", 0.1, 1000 * flags / columns, note=_behind(flags, columns))
        )
        goals.append(
            Goal(f"{key}.alarms", f"{text} windows with an alarm per 1,000", 1.0, 1000 * alarms / windows, note=_behind(alarms, windows))
        )
    return Section(goals, _rates("nothing changed", by_cell), _picture(by_cell))


def _behind(count: int, total: int) -> str:
    return f"{count} of {total:,}" + ("" if count else f": at most {number(3000 / total)} per 1,000")


def wobble(results: Sequence[tuple[str, Counts]], quick: bool) -> Section:
    """Print rates by rule and size of window."""
    by_cell = totals(results)
    alarms, windows = _sum(by_cell, "alarms", OURS), _sum(by_cell, "windows", OURS)
    text = f"every mean wobbles by {WOBBLE} sd: windows with an alarm per 1,000"
    goal = Goal("wobble.alarms", text, 1.0, 1000 * alarms / windows, note=_behind(alarms, windows))
    return Section([goal], _rates(f"every column's mean wobbles by {WOBBLE} sd per window", by_cell), _picture(by_cell))


def _sum(by_cell: Mapping[str, Counts], what: str, rule: str) -> int:
    return sum(getattr(counts, what)[rule] for counts in by_cell.values())


def _rates(what: str, by_cell: Mapping[str, Counts]) -> list[Table]:
    groups = [("simulated", [t for t in by_cell if " col. " in t]), ("real rows, shuffled", [t for t in by_cell if " col. " not in t])]
    found = []
    for group, titles in groups:
        if not titles:
            continue
        picked = [by_cell[title] for title in titles]
        alarms = [[_bold(rule), *(rate(c.alarms[rule], c.windows[rule]) for c in picked)] for rule in RULES]
        flags = [
            [_bold(rule), *(rate(c.flags[rule], c.columns[rule]) for c in picked)]
            for rule in RULES
            if rule != "Evidently, half of the columns"
        ]
        behind = [
            [f"*windows behind it: {who}*", *(f"{c.windows[rule]:,}" for c in picked)]
            for who, rule in (("driftsonde", OURS), ("others", PEERS[0]))
        ]
        behind_flags = [
            [f"*feature-windows: {who}*", *(f"{c.columns[rule]:,}" for c in picked)]
            for who, rule in (("driftsonde", OURS), ("others", PEERS[0]))
        ]
        found.append(Table(f"Windows with an alarm per 1,000, {what} ({group})", ["rule", *titles], [*alarms, *behind]))
        found.append(Table(f"False flags per 1,000 feature-windows, {what} ({group})", ["rule", *titles], [*flags, *behind_flags]))
    return found


def _bold(rule: str) -> str:
    return f"**{rule}**" if rule.startswith(OURS) else rule


def _picture(by_cell: Mapping[str, Counts]) -> dict[str, object]:
    """Return alarms per 1,000 by rule, with upper limits where nothing was seen, by cell."""
    return {
        title: {rule: [1000 * c.alarms[rule] / c.windows[rule], 3000 / c.windows[rule]] for rule in RULES if c.windows[rule]}
        for title, c in by_cell.items()
    }
