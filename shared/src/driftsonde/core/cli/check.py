"""`driftsonde check`: judge files offline."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from driftsonde.core.config import parse_backtest
from driftsonde.core.errors import DriftsondeError, UnreadableObject
from driftsonde.core.text import clean

if TYPE_CHECKING:
    import pyarrow as pa

    from driftsonde.core.api import Baseline, ColumnVerdict, Sketch, Verdict
    from driftsonde.core.drift.checks import Check

EXIT_CODES = {"ok": 0, "warning": 0, "drift": 3, "untrusted": 4, "insufficient": 5}
_SEVERITY = ("ok", "warning", "insufficient", "drift", "untrusted")
LINE = 400
"""Most characters that data may add to a line."""
COLORS = {"ok": "green", "warning": "yellow", "drift": "bold red", "untrusted": "bold magenta", "insufficient": "cyan"}


def check(
    files: Annotated[list[Path], typer.Argument(help="Window files, oldest first: Parquet, CSV or JSON Lines, also .gz and .zst.")],
    baseline: Annotated[Path, typer.Option("--baseline", "-b", help="Data to compare with, or a file made by `baseline build`.")],
    backtest: Annotated[
        str | None, typer.Option(help="Calibrate thresholds on the baseline's own windows: how many (30 or more), or COLUMN:1d.")
    ] = None,
    columns: Annotated[str | None, typer.Option(help="Watch only these, separated by commas.")] = None,
    ignore: Annotated[str | None, typer.Option(help="Do not watch these.")] = None,
    categorical: Annotated[str | None, typer.Option(help="Numbers that are names: zip codes, hours.")] = None,
    bins: Annotated[int, typer.Option(min=16, max=4096, help="Bins of a numeric column.")] = 256,
    alpha: Annotated[float, typer.Option(min=1e-9, max=0.2, help="False alarms per window, over all columns and checks.")] = 0.001,
    lookback: Annotated[int, typer.Option(min=1, max=256, help="Windows merged at most; 1 switches look-back off.")] = 32,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON line per window.")] = False,
) -> None:
    """Judge window files against a baseline, each with those before it as its look-back.

    No service, no AWS, no state. A window file that cannot be read is untrusted. Exit code, the worst of the windows:
    0 ok or warning, 5 insufficient, 3 drift, 4 untrusted; 1 for any other error, 2 for wrong usage.
    """
    from driftsonde.core.api import Parameters, judge

    for path in (baseline, *files):
        open_file(path).close()
    parameters = Parameters(alpha=alpha, lookback=lookback)
    names = {"only": _split(columns), "ignore": _split(ignore), "categorical": _split(categorical)}
    frozen = frozen_of(baseline, bins=bins, backtest=_calibration(baseline, backtest), parameters=parameters, **names)
    history: list[Sketch] = []
    worst = "ok"
    for path in files:
        sketch = sketch_of(frozen, path)
        verdict = judge(frozen, [*history[1 - lookback :], sketch] if lookback > 1 else [sketch], parameters)
        if verdict.word != "untrusted":
            history.append(sketch)
        worst = max(worst, verdict.word, key=_SEVERITY.index)
        if as_json:
            print(json.dumps(as_line(str(path), verdict)), flush=True)
        else:
            _show(path, verdict, sketch)
    raise typer.Exit(EXIT_CODES[worst])


def as_line(window: str, verdict: Verdict) -> dict[str, Any]:
    """Return a verdict in the shape of `--json`."""
    from driftsonde.core.drift.checks import METHODS

    return {
        "window": window,
        "verdict": verdict.word,
        "rows": verdict.rows,
        "trainable": verdict.trainable,
        "columns": {
            column.name: {
                "status": column.status,
                "kind": column.kind,
                "decided_by": column.decided_by,
                "lookback": column.lookback,
                "checks": [
                    {
                        "check": check.name, "method": METHODS.get(check.name, ""), "score": check.score, "threshold": check.threshold, "critical": check.critical,
                        "p_value": check.p_value, "n": check.n, "baseline_n": check.m, "interval": check.interval,
                        "bracket": check.bracket, "certain": check.certain, "lookback": check.lookback, "drift": check.drift,
                    }
                    for check in column.checks
                ],
            }
            for column in verdict.columns
        },
        "new_columns": verdict.new,
        "broken": verdict.broken,
    }  # fmt: skip


def _calibration(baseline: Path, text: str | None) -> int | tuple[str, timedelta] | None:
    try:
        return parse_backtest(text) if text else None
    except ValueError as exc:
        raise DriftsondeError(f"{baseline}: {exc}") from exc


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def frozen_of(path: Path, *, categorical: tuple[str, ...] = (), **options: Any) -> Baseline:
    """Return the baseline that a file holds, or is the data of.

    Raises:
        DriftsondeError: if it is neither, or `options` cannot be followed.
    """
    try:
        return _baseline(path, categorical=categorical, **options)
    except ValueError as exc:
        raise DriftsondeError(f"{path}: {exc}") from exc


def _baseline(path: Path, *, categorical: tuple[str, ...], **options: Any) -> Baseline:
    from driftsonde.core.api import Baseline

    with open_file(path) as file:
        head = file.read(3)
    if head == b"DSK":
        if categorical or any(options.get(name) for name in ("backtest", "only", "ignore")):
            raise DriftsondeError(
                f"{path} is frozen: columns and thresholds were chosen by `baseline build`; give its data instead to choose again"
            )
        return Baseline.from_bytes(path.read_bytes())
    return Baseline.build(_batches(path, text=categorical), categorical=categorical, **options)


def open_file(path: Path) -> BinaryIO:
    """Open a file to read.

    Raises:
        DriftsondeError: if it cannot be.
    """
    try:
        return path.open("rb")
    except OSError as exc:
        raise DriftsondeError(f"cannot read {path}: {exc.strerror}") from exc


def _batches(path: Path, *, text: tuple[str, ...]) -> Callable[[], Iterator[pa.RecordBatch]]:
    from driftsonde.core.readers import LocalSource, open_table

    return lambda: open_table(LocalSource(path), text=text).batches()


def sketch_of(baseline: Baseline, path: Path) -> Sketch:
    """Count a file; one that cannot be read is a window with an unreadable drop."""
    from driftsonde.core.counting import count_object
    from driftsonde.core.readers import LocalSource

    sketch = baseline.sketch()
    try:
        sketch.table = count_object(baseline, LocalSource(path))
    except UnreadableObject as exc:
        print(f"driftsonde: {clean(str(exc), LINE)}", file=sys.stderr)
        sketch.table.unreadable = 1
    return sketch


def _show(path: Path, verdict: Verdict, sketch: Sketch) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console, baseline = Console(emoji=False), sketch.baseline
    color = COLORS[verdict.word]
    console.print(
        f"\n[bold]{escape(clean(str(path), LINE))}[/bold]  {verdict.rows:,} rows  →  [{color}]{verdict.word}[/{color}]", highlight=False
    )
    if verdict.word == "drift" and not verdict.trainable:
        console.print("  missing, invalid or unseen values rose: fix the data rather than retrain", style="red", highlight=False)
    for reason in verdict.broken:
        console.print(f"  {clean(reason, LINE)}", style="magenta", markup=False, highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("column", "status", "check", "score", "alarms from", "p", "windows", "what moved most"):
        table.add_column(title, justify="right" if title in ("score", "alarms from", "p", "windows") else "left", overflow="fold")
    for column in verdict.columns:
        table.add_row(*_row(column, sketch))
    console.print(table)
    notes = [f"not tested: {name} ({why})" for name, why in baseline.untested.items()]
    notes += [f"new column, not tested: {name}" for name in verdict.new]
    if not baseline.windows:
        notes.append("thresholds are not calibrated; --backtest learns them from the baseline's own windows")
    if any(not check.certain for column in verdict.columns if (check := _shown(column)) is not None):
        notes.append("?: the exact score lies up to that much higher, on the other side of what alarms; a baseline with more --bins tells")
    for note in notes:
        console.print(f"  {clean(note, LINE)}", style="dim", markup=False, highlight=False)


def _row(column: ColumnVerdict, sketch: Sketch) -> list[Any]:
    from rich.text import Text

    shown = _shown(column)
    style = "bold red" if column.alarms else {"suspect": "yellow", "ok": "green"}.get(column.status, "dim")
    name, status = Text(clean(column.name)), Text(column.status, style=style)
    if shown is None:
        return [name, status, "", "", "", "", "", ""]
    moved = _moved(column, shown, sketch) if column.failing else ""
    return [
        name, status, shown.name, _score(shown), f"{shown.critical:.3f}", f"{shown.p_value:.1e}", str(shown.lookback),
        Text(clean(moved, LINE)),
    ]  # fmt: skip


def _shown(column: ColumnVerdict) -> Check | None:
    """Return the check that says most of a column."""
    return max(column.checks, key=lambda check: (check.drift, check.score / check.critical, not check.is_share), default=None)


def _score(check: Check) -> str:
    """Write a score; where binning leaves the answer open, with how much it leaves open."""
    if check.bracket is None or check.certain:
        return f"{check.score:.3f}"
    return f"{check.score:.3f} +{check.bracket.upper - check.bracket.lower:.3f}?"


def _moved(column: ColumnVerdict, check: Check, sketch: Sketch) -> str:
    """Say what changed most: for a share check the share, else the bin or level."""
    from driftsonde.core.drift.checks import largest_moves

    before, after = sketch.baseline.by_name[column.name], sketch.table.columns[column.name]
    if check.name in ("nulls", "invalid"):
        old, new = (getattr(item, check.name) / max(item.rows, 1) for item in (before.sketch, after))
        return f"{check.name}: {old:.1%} → {new:.1%}"
    return "".join(f"{label}: {b:.1%} → {a:.1%}" for label, b, a in largest_moves(before, after, 1))
