"""W1 in memory through the public API, against other tools, each in an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import data
from .children import Outcome, Run, race, ratio, skips
from .measure import Options, progress
from .tables import Goal, Table, figure, size

SECTION = "Peers: W1 in memory"
_OURS, _EXACT = "driftsonde", "scipy ks_2samp"


@dataclass(frozen=True)
class Peer:
    """A tool, its runner and the goal; 0 means none."""

    name: str
    runner: str
    goal: float


_FAST = (
    Peer(_EXACT, "scipy", 33), Peer("NannyML KS", "nannyml", 8), Peer("datasketches KLL k=200", "datasketches", 4),
    Peer("Alibi Detect KSDrift", "alibi", 20), Peer("Frouros KSTest", "frouros", 16),
)  # fmt: skip
_SLOW = (
    Peer(_EXACT, "scipy", 0), Peer("whylogs profile + KS", "whylogs", 100),
    Peer("Evidently preset, KS (also draws plots, repeats tests)", "evidently", 300),
)  # fmt: skip
_ROWS, _SLOW_ROWS = 1_000_000, 200_000


def run(options: Options) -> list[Table]:
    """Measure the fast ones on all rows, the slow ones on fewer, and one against a small reference."""
    rows, few = options.rows(_ROWS), options.rows(_SLOW_ROWS)
    return [
        _table(_FAST, rows, rows, options),
        _table(_SLOW, few, few, options, " The last two are slow, so there are fewer rows, for everyone."),
        _table((Peer(_EXACT, "scipy", 0),), rows, rows // 10, options, " An exact test costs less with a small reference, ours the same."),
    ]


def _table(peers: tuple[Peer, ...], rows: int, reference: int, options: Options, remark: str = "") -> Table:
    progress(f"{size(rows)} rows against {size(reference)}")
    folder = data.w1(options.rows(_ROWS))
    runs = {peer.name: _run(peer.runner, folder, rows, reference) for peer in peers}
    outcomes = race({_OURS: _run("ours", folder, rows, reference), **runs}, options.rounds)
    return Table(
        f"{size(rows)} rows × {data.COLUMNS} columns against a reference of {size(reference)} rows",
        ("tool", "versions", "CPU s", "spread", "wall s", "CPU ns per value", "CPU time over ours", "largest error of KS"),
        tuple(_row(name, outcomes, rows) for name, outcome in outcomes.items() if outcome.cost),
        f"Fitting the reference is not measured, for anyone.{remark} {skips(outcomes)}".strip(),
        tuple(Goal(f"{peer.name} over driftsonde", peer.goal, ratio(outcomes, peer.name, _OURS)) for peer in peers if peer.goal),
    )


def _run(runner: str, folder: Path, rows: int, reference: int) -> Run:
    return Run(runner, "memory", folder, rows, reference)


def _row(name: str, outcomes: dict[str, Outcome], rows: int) -> tuple[str, ...]:
    outcome = outcomes[name]
    assert outcome.cost is not None
    over = ratio(outcomes, name, _OURS)
    return (
        name, ", ".join(f"{package} {version}" for package, version in outcome.versions.items()), figure(outcome.cost.cpu),
        f"{outcome.cost.spread:.0%}", figure(outcome.cost.wall), figure(outcome.cost.cpu / (rows * data.COLUMNS) * 1e9), f"{over:.1f} ×" if over else "–",
        _error(outcome, outcomes.get(_EXACT)),
    )  # fmt: skip


def _error(outcome: Outcome, exact: Outcome | None) -> str:
    """Return how far a tool's KS distances are from scipy's, at most; a dash where it gives none."""
    if exact is None or not exact.distances or not outcome.distances:
        return "–"
    return f"{max(abs(outcome.distances[name] - value) for name, value in exact.distances.items()):.5f}"
