"""Something changes in one of fifty columns: is it found, and when?

Several columns of one table change at once, each in its own way. A column's verdict depends on no other column's data, only on
how many there are (`independent` checks that), so this measures each as if it alone had changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from driftsonde.core.api import judge

from .data import Change, Column, Matrix, draw_table, table
from .effects import Case, cases, true_effects
from .report import Goal, Section, Table, number, rate, share
from .report import size as size_name
from .rules import BH, EVIDENTLY, PEERS, TableRules
from .tasks import Task
from .watch import LOOKBACK, OURS, OURS_SMALL, Simulated, Watch, policies, simulate

SIZES = (100, 1_000, 10_000)
_COLUMNS = 50
_DRAWN = 4_000_000
_BIG = (1.5, 1.75, 2.0, 3.0, 4.0)
_SMALL = (0.2, 0.4, 0.6)
_BIG_ROWS = 10_000
SHOWN = tuple(rule for rule in PEERS if rule not in (BH, EVIDENTLY))
"""These look at one column; the two others cannot be told from one column alone."""

_SHIFTS = np.round(np.arange(0, 1.01, 0.05), 2)
_CURVE_WINDOWS = 8


def changes() -> dict[str, tuple[str, Change]]:
    """Return, by name, the kind of column and what happens to it (statistics: 3.2)."""
    last = 0.1 / sum(1 / (3 + i) for i in range(8))  # share of the last of eight levels
    return {
        **{f"mean +{d:g} sd": ("normal", Change(shift=d)) for d in (0.1, 0.25, 0.35, 0.5, 1.0)},
        **{f"sd × {s:g}": ("normal", Change(scale=s)) for s in (1.5, 2.0)},
        **{f"{p:.0%} beyond the range": ("normal", Change(outside=p)) for p in (0.03, 0.10)},
        **{f"category mix, TV {tv:g}": ("8 levels", Change(mix=tv / (1 - last))) for tv in (0.05, 0.20)},
        "unseen category 3%": ("8 levels", Change(outside=0.03)),
        **{f"nulls 2% → {p:.0%}": ("normal", Change(nulls=p)) for p in (0.10, 0.30)},
    }


def assigned(columns: Sequence[Column], wanted: Mapping[str, tuple[str, Change]]) -> dict[str, str]:
    """Give each change columns of its kind in turn, and return which column has which change."""
    found: dict[str, str] = {}
    for kind in dict.fromkeys(kind for kind, _ in wanted.values()):
        names = [name for name, (needs, _) in wanted.items() if needs == kind]
        fitting = [column.name for column in columns if column.name.startswith(kind)]
        for i, column in enumerate(fitting[: max(1, len(fitting) // len(names)) * len(names)]):
            found[column] = names[i % len(names)]
    return found


@dataclass
class Found:
    """How one change fared at one size of window."""

    trials: int
    delays: list[int]
    small: list[int]
    peers: dict[str, int]

    @classmethod
    def none(cls) -> Found:
        """Nothing tried yet."""
        return cls(0, [], [], dict.fromkeys(SHOWN, 0))

    def merge(self, other: Found) -> None:
        """Fold another's trials in."""
        self.trials += other.trials
        self.delays += other.delays
        self.small += other.small
        for rule, count in other.peers.items():
            self.peers[rule] += count

    def within(self, windows: int) -> int:
        """Return in how many trials it was found in the first so many windows."""
        return sum(delay <= windows for delay in self.delays)

    def median(self) -> float:
        """Return the median delay; infinite when fewer than half were found."""
        return _median(self.delays, self.trials)

    def cell(self, *, small: bool = False) -> str:
        """Return the share found in the first window and the median delay, for people."""
        delays = self.small if small else self.delays
        middle = _median(delays, self.trials)
        return f"{share(sum(delay == 1 for delay in delays), self.trials)}, {'–' if middle == float('inf') else f'{middle:g}'}"


def _median(delays: Sequence[int], trials: int) -> float:
    return float(median([*delays, *[float("inf")] * (trials - len(delays))]))


@dataclass(frozen=True)
class Trial:
    """One table of changes, watched from the first changed window on.

    Args:
        rows: of each window.
        monitor: which baseline.
        repeats: how often it changes anew.
        windows: until when.
        curve: whether means move by small steps, rather than as in the table.
    """

    rows: int
    monitor: int
    repeats: int
    windows: int
    curve: bool = False

    def wanted(self) -> dict[str, tuple[str, Change]]:
        """Return what happens."""
        return {f"{d:g}": ("normal", Change(shift=d)) for d in _SHIFTS} if self.curve else changes()


def tasks(quick: bool) -> Iterator[Task]:
    """Yield one task for each baseline."""
    for rows, (monitors, repeats) in zip(SIZES, ((1, 10), (1, 5), (1, 1)) if quick else ((5, 20), (5, 14), (5, 8)), strict=True):
        for monitor in range(monitors):
            yield Task(_watched, (Trial(rows, monitor, repeats, _longest(quick)),), repeats * 64 * (0.5 + rows / 4000))
            yield Task(_watched, (Trial(rows, monitor, repeats * 2, _CURVE_WINDOWS, curve=True),), repeats * 16 * (0.5 + rows / 4000))
    yield Task(_big, (2 if quick else 1,), 200)
    for monitor in range(1 if quick else 2):
        yield Task(_small, (monitor, 2 if quick else 10), 200)
    yield Task(independent, (), 20)


def _longest(quick: bool) -> int:
    return 16 if quick else 64


def _watched(trial: Trial) -> tuple[Trial, dict[str, Found]]:
    sim = simulate(table(_COLUMNS), (2, trial.rows, trial.monitor, trial.curve))
    wanted = trial.wanted()
    by_column = assigned(sim.columns, wanted)
    moved = {column: wanted[name][1] for column, name in by_column.items()}
    rules = TableRules(sim.rows, {column.name: len(column.levels) for column in sim.columns if not column.numeric})
    rules.learn(draw_table(sim.random, sim.columns, trial.rows, windows=20))
    before = list(sim.batches(draw_table(sim.random, sim.columns, trial.rows, windows=LOOKBACK - 1)))
    history = [sim.watch.baseline.sketch().update(batch) for batch in before]
    found = {name: Found.none() for name in wanted}
    for _ in range(trial.repeats):
        watch = Watch(sim.watch.baseline)
        watch.history.extend(history)
        _one(sim, watch, trial, rules, moved, by_column, found)
    return trial, found


def _one(
    sim: Simulated, watch: Watch, trial: Trial, rules: TableRules, moved: Mapping[str, Change], by_column: Mapping[str, str],
    found: Mapping[str, Found],
) -> None:  # fmt: skip
    """Change the columns once, and note when each is found."""
    seen: dict[str, set[str]] = {policy: set() for policy in policies(trial.rows)}
    step = max(1, min(trial.windows, _DRAWN // (trial.rows * _COLUMNS)))
    for start in range(0, trial.windows, step):
        drawn = draw_table(sim.random, sim.columns, trial.rows, windows=min(step, trial.windows - start), changes=moved)
        if start == 0:
            _note_peers(rules, drawn, by_column, found)
        for policy, all_flags in watch.flags_by_policy(sim.batches(drawn), trial.rows).items():
            for window, flags in enumerate(all_flags, start + 1):
                for column in (flags & by_column.keys()) - seen[policy]:
                    each = found[by_column[column]]
                    (each.delays if policy == OURS else each.small).append(window)
                seen[policy] |= flags
    for name in by_column.values():
        found[name].trials += 1


def _note_peers(rules: TableRules, drawn: Mapping[str, Matrix], by_column: Mapping[str, str], found: Mapping[str, Found]) -> None:
    flags = rules.flags({name: matrix[:1] for name, matrix in drawn.items()}).columns
    for place, column in enumerate(rules.columns):
        if column in by_column:
            for rule in SHOWN:
                found[by_column[column]].peers[rule] += int(flags[rule][0, place])


def _big(every: int) -> tuple[str, list[tuple[str, float, bool]]]:
    """Return the changes of at least 1.5 thresholds, and whether the first window of 10,000 rows finds each."""
    found = []
    for number_, group in enumerate(_groups(cases(_BIG)[::every])):
        sim = simulate([case.column for case in group], (5, number_))
        drawn = draw_table(sim.random, sim.columns, _BIG_ROWS, changes={case.column.name: case.change for case in group})
        flags = sim.watch.flags(sim.batches(drawn))[0]
        found += [(case.column.name, case.size, case.column.name in flags) for case in group]
    return "big", found


def _small(monitor: int, windows: int) -> tuple[str, list[tuple[str, int, int]]]:
    """Return the changes of at most 0.6 thresholds, with false flags and windows of each; look-back included."""
    found = []
    for number_, group in enumerate(_groups(cases(_SMALL))):
        sim = simulate([case.column for case in group], (6, number_, monitor))
        moved = {case.column.name: case.change for case in group}
        drawn = draw_table(sim.random, sim.columns, _BIG_ROWS, windows=windows, changes=moved)
        flags = sim.watch.flags(sim.batches(drawn))
        found += [(name, sum(name in each for each in flags), windows) for name in moved]
    return "small", found


def _groups(all_cases: Sequence[Case]) -> list[Sequence[Case]]:
    """Deal the cases out to tables of at most fifty columns."""
    count = -(-len(all_cases) // _COLUMNS)
    return [all_cases[i::count] for i in range(count)]


def independent() -> tuple[str, bool]:
    """Check that a column's verdict is the same whether the others change or not."""
    sim = simulate(table(_COLUMNS), (7,))
    wanted = changes()
    moved = {column: wanted[name][1] for column, name in assigned(sim.columns, wanted).items()}
    drawn = draw_table(sim.random, sim.columns, 1_000, changes=moved)
    calm = draw_table(sim.random, sim.columns, 1_000)

    def verdicts(values: Mapping[str, Matrix]) -> dict[str, Any]:
        sketch = sim.watch.baseline.sketch().update(next(iter(sim.batches(values))))
        return {column.name: column for column in judge(sim.watch.baseline, [sketch]).columns}

    together = verdicts(drawn)
    return "independent", all(verdicts({**calm, name: drawn[name]})[name] == together[name] for name in list(moved)[:12])


def power(results: Sequence[Any], quick: bool) -> Section:
    """Print shares and delays, and hold them against the goals."""
    by_cell: dict[tuple[int, bool], dict[str, Found]] = {}
    rest: dict[str, list[Any]] = {}
    for head, found in results:
        if isinstance(head, Trial):
            cell = by_cell.setdefault((head.rows, head.curve), {name: Found.none() for name in found})
            for name, each in found.items():
                cell[name].merge(each)
        else:
            rest.setdefault(head, []).extend(found if isinstance(found, list) else [found])
    if not all(rest["independent"]):
        raise AssertionError("a column's verdict depends on another column's data: this section measures nothing")
    measured = {rows: by_cell[rows, False] for rows in SIZES}
    curve = {rows: by_cell[rows, True] for rows in SIZES}
    goals = [*_delay_goals(measured), *_sure_goals(rest)]
    return Section(goals, [_ours_table(measured, _longest(quick)), *_peer_tables(measured), *_sure_tables(rest)], {"curve": _curve(curve)})


def _delay_goals(measured: Mapping[int, Mapping[str, Found]]) -> Iterator[Goal]:
    for rows, limit in ((100, 6), (1_000, 1), (10_000, 1)):
        found = measured[rows]["mean +0.5 sd"]
        text = f"+0.5 sd in one of 50 columns, n = {rows:,}: median delay in windows"
        yield Goal(f"power.delay.{rows}", text, limit, found.median(), note=f"{found.trials} trials")


def _sure_goals(rest: Mapping[str, list[Any]]) -> Iterator[Goal]:
    big, small = rest["big"], rest["small"]
    hits, flags = sum(found for _, _, found in big), sum(count for _, count, _ in small)
    yield Goal(
        "power.recall", "changes of at least 1.5 thresholds: share found", 0.98, hits / len(big), most=False, note=f"{hits} of {len(big)}"
    )
    windows = sum(windows for _, _, windows in small)
    yield Goal("power.small", "changes of at most 0.6 thresholds: false flags", 2, flags, note=f"{flags} of {windows:,} feature-windows")


def _ours_table(measured: Mapping[int, Mapping[str, Found]], longest: int) -> Table:
    wanted, fitting = changes(), {column.name.rpartition(" #")[0]: column for column in table(_COLUMNS)}
    rows = []
    for name, (kind, change) in wanted.items():
        effects = true_effects(fitting[kind if kind in fitting else "normal 0"], change)
        worst = max((check for check in effects if check != "psi"), key=effects.__getitem__)
        cells = [measured[SIZES[0]][name].cell(small=True), *(measured[n][name].cell() for n in SIZES)]
        rows.append([name, f"{worst} {effects[worst]:.2f}, psi {effects['psi']:.2f}", *cells])
    trials = [f"{min(found.trials for found in measured[n].values())}–{max(found.trials for found in measured[n].values())}" for n in SIZES]
    title = (
        f"driftsonde, one of 50 columns changes: share found in the first changed window, median delay (–: not within {longest} windows)"
    )
    return Table(
        title,
        ["change", "true effect", "n=100, min_rows 50", *(f"n={size_name(n)}" for n in SIZES)],
        [*rows, ["*trials*", "", trials[0], *trials]],
    )


def _peer_tables(measured: Mapping[int, Mapping[str, Found]]) -> Iterator[Table]:
    for n in SIZES:
        rows = [
            [name, *(share(found.peers[rule], found.trials) for rule in SHOWN), *_ours_first(found, n)]
            for name, found in measured[n].items()
        ]
        yield Table(f"Share found in the first changed window, n = {n:,}, by rule", ["change", *SHOWN, *policies(n)], rows)


def _ours_first(found: Found, rows: int) -> list[str]:
    lists = {OURS: found.delays, OURS_SMALL: found.small}
    return [f"**{share(lists[policy].count(1), found.trials)}**" for policy in policies(rows)]


def _sure_tables(rest: Mapping[str, list[Any]]) -> Iterator[Table]:
    groups: dict[str, list[tuple[float, bool]]] = {}
    for name, size, found in rest["big"]:
        groups.setdefault(name.split(", ")[1], []).append((size, found))
    rows = [[name, str(len(group)), str(sum(found for _, found in group))] for name, group in groups.items()]
    yield Table(f"Changes of 1.5 to 4 thresholds, n = {_BIG_ROWS:,}", ["change", "tried", "found"], rows)
    missed = [[name, number(size)] for name, size, found in rest["big"] if not found]
    if missed:
        yield Table("of these not found in the first window", ["column, change, size", "thresholds"], missed)
    small: dict[str, list[int]] = {}
    for name, count, windows in rest["small"]:
        total = small.setdefault(name.split(", ")[1], [0, 0])
        total[0], total[1] = total[0] + count, total[1] + windows
    shown = [[name, f"{windows:,}", str(count), rate(count, windows)] for name, (count, windows) in small.items()]
    head = ["change", "feature-windows", "flags", "per 1,000"]
    yield Table(f"Changes of 0.2, 0.4 and 0.6 thresholds, n = {_BIG_ROWS:,}, look-back included", head, shown)


def _curve(curve: Mapping[int, Mapping[str, Found]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for rows, by_shift in curve.items():
        lines = {f"{OURS}, first window": [each.within(1) / each.trials for each in by_shift.values()]}
        lines[f"{OURS}, within {_CURVE_WINDOWS} windows"] = [each.within(_CURVE_WINDOWS) / each.trials for each in by_shift.values()]
        if int(rows) == SIZES[0]:
            lines[f"{OURS_SMALL}, first window"] = [each.small.count(1) / each.trials for each in by_shift.values()]
        lines |= {rule: [each.peers[rule] / each.trials for each in by_shift.values()] for rule in SHOWN}
        found[str(rows)] = {"shift": [float(name) for name in by_shift], "lines": lines}
    return found
