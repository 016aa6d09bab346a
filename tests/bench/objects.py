"""From a file in the page cache to the verdict, against decoding alone and against other tools behind pandas."""

from __future__ import annotations

from pathlib import Path

from . import data
from .children import Outcome, Run, race, ratio, skips
from .measure import Options, progress
from .tables import Goal, Table, figure, size

SECTION = "Objects: from bytes to the verdict"
_OURS, _DECODE, _GROUPS = "driftsonde", "pyarrow, decode alone", "pyarrow, decode alone by row group"
_SCIPY, _NANNYML, _KLL = "pandas + scipy ks_2samp", "pandas + NannyML KS", "pandas + datasketches KLL k=200"
_TOOLS = {_SCIPY: "scipy", _NANNYML: "nannyml", _KLL: "datasketches"}
_ROWS = 1_000_000


def run(options: Options) -> list[Table]:
    """Measure each format."""
    return [_table(form, options) for form in ("parquet", "csv", "jsonl")]


def _table(form: str, options: Options) -> Table:
    rows = options.rows(_ROWS // 5 if form == "jsonl" else _ROWS)  # JSON is slow enough to be measured on fewer
    folder = data.w1(rows)
    progress(f"{form}, {size(rows)} rows")
    outcomes = race(_runs(form, folder, rows), options.rounds)
    path = folder / f"window.{form}"
    return Table(
        f"{form}: {size(rows)} rows × {data.COLUMNS} columns, {path.stat().st_size / 1e6:.0f} MB",
        ("what", "CPU s", "spread", "wall s", "CPU ns per value", "MB per CPU-second", "CPU time over ours"),
        tuple(_row(name, outcomes, path, rows) for name, outcome in outcomes.items() if outcome.cost),
        skips(outcomes),
        _goals(form, outcomes),
    )


def _runs(form: str, folder: Path, rows: int) -> dict[str, Run]:
    runs = {_OURS: Run("ours", form, folder, rows, rows), _DECODE: Run("decode", form, folder, rows, 0)}
    if form == "parquet":
        runs[_GROUPS] = Run("decode", "parquet-groups", folder, rows, 0)
    return runs | {name: Run(peer, form, folder, rows, rows) for name, peer in _TOOLS.items()}


def _row(name: str, outcomes: dict[str, Outcome], path: Path, rows: int) -> tuple[str, ...]:
    cost = outcomes[name].cost
    assert cost is not None
    over = ratio(outcomes, name, _OURS)
    return (
        name, figure(cost.cpu), f"{cost.spread:.0%}", figure(cost.wall), figure(cost.cpu / (rows * data.COLUMNS) * 1e9),
        figure(path.stat().st_size / 1e6 / cost.cpu), f"{over:.2f} ×" if over else "–",
    )  # fmt: skip


def _goals(form: str, outcomes: dict[str, Outcome]) -> tuple[Goal, ...]:
    def ours_over(name: str, limit: float, stretch: float | None = None) -> Goal:
        return Goal(f"{form} to verdict over {name}", limit, ratio(outcomes, _OURS, name), at_least=False, stretch=stretch)

    def over_ours(name: str, limit: float) -> Goal:
        return Goal(f"{name} over {form} to verdict", limit, ratio(outcomes, name, _OURS))

    if form == "parquet":
        return (
            ours_over(_DECODE, 2.0, 1.4), ours_over(_GROUPS, 2.0, 1.4),
            over_ours(_SCIPY, 18), over_ours(_NANNYML, 5), over_ours(_KLL, 3),
        )  # fmt: skip
    return (ours_over(_DECODE, 1.45, 1.2), over_ours(_SCIPY, 5)) if form == "csv" else ()
