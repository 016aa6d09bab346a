"""`driftsonde baseline build`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftsonde.core.cli.backfill import EngineName, engine_of
from driftsonde.core.config import load_config, parse_backtest
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.text import clean

if TYPE_CHECKING:
    import pyarrow as pa

    from driftsonde.core.building import BuildOptions
    from driftsonde.core.drift.backtest import Raised
    from driftsonde.core.monitoring.baseline import FrozenBaseline
    from driftsonde.core.places import Found, Places
    from driftsonde.core.readers import Source
    from driftsonde.core.scale.runs import Engine


def build(
    data: Annotated[list[str], typer.Argument(help="Files, or s3:// prefixes; default: the monitor's configured baseline.")] = [],  # noqa: B006  # typer copies it
    out: Annotated[str, typer.Option("--out", "-o", help="Where to write it: a file or an s3:// address.")] = "baseline.dsk",
    monitor: Annotated[str | None, typer.Option(help="Take columns and back-test from this monitor of the configuration.")] = None,
    config: Annotated[Path, typer.Option(help="The configuration file, for --monitor.")] = Path("driftsonde.yaml"),
    backtest: Annotated[str | None, typer.Option(help="Calibrate thresholds: a number of windows, or COLUMN:1d.")] = None,
    ignore: Annotated[str | None, typer.Option(help="Columns not to watch, separated by commas.")] = None,
    categorical: Annotated[str | None, typer.Option(help="Numbers that are names.")] = None,
    bins: Annotated[int, typer.Option(min=16, max=4096, help="Bins of a numeric column.")] = 256,
    engine: Annotated[EngineName, typer.Option(help="spark: on the executors of a Spark session; the same bytes.")] = "local",
) -> None:
    """Build a frozen baseline from files or S3 objects, in memory that does not grow with them.

    The result is a file that `driftsonde check --baseline` takes, and that a monitor's `baseline:` may name in S3.
    """
    from driftsonde.core.building import BuildOptions

    ignored, names, calibrate, sources = _split(ignore), _split(categorical), backtest, list(data)
    owners: dict[str, str] = {}
    if monitor is not None:
        read = load_config(config)
        configured, owners = read.monitor(monitor), read.bucket_owners
        if configured is None:
            raise DriftsondeError(f"{config}: there is no monitor {monitor!r}")
        columns = configured.columns
        ignored += (*columns.ignore, *((columns.label,) if columns.label else ()))
        names, calibrate = names + columns.categorical, backtest or configured.baseline.backtest
        if not sources and configured.baseline.uri is None:
            raise DriftsondeError(f"monitor {monitor} learns its baseline from its first drops: give files or s3:// prefixes to build one")
        sources, bins = sources or [str(configured.baseline.uri)], configured.baseline.bins
    if not sources:
        raise DriftsondeError("nothing to build from: give files, s3:// prefixes, or --monitor")
    if not out.startswith("s3://") and not Path(out).absolute().parent.is_dir():
        raise DriftsondeError(f"cannot write {out}: there is no such folder")
    options = BuildOptions(bins=bins, ignore=ignored, categorical=names, backtest=parse_backtest(calibrate) if calibrate else None)
    with engine_of(engine, owners) as (places, workers):
        found = [item for name in sources for item in places.find(name)]
        if not found:
            raise DriftsondeError(f"there is nothing at {', '.join(sources)}")
        try:
            frozen, raised = _build(places, workers, found, options)
        except ValueError as exc:
            raise DriftsondeError(str(exc)) from exc
        places.write(out, frozen.data)
    _summarise(frozen, raised, len(found), out)


def _build(places: Places, workers: Engine, found: list[Found], options: BuildOptions) -> tuple[FrozenBaseline, tuple[Raised, ...]]:
    from driftsonde.core.building import build as build_here
    from driftsonde.core.scale.building import build_on
    from driftsonde.core.scale.runs import OneProcess

    if isinstance(workers, OneProcess):  # with a bar that tells how far it is, and without counting the rows first
        return build_here(_Progress([places.source(item) for item in found], options.categorical), options)
    return build_on(workers, found, options)


class _Progress:
    """Gives the batches of all objects, twice, with a bar that tells how far it is."""

    def __init__(self, sources: list[Source], text: tuple[str, ...]) -> None:
        self._sources, self._text, self._pass = sources, text, 0

    def __call__(self) -> Iterator[pa.RecordBatch]:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        from driftsonde.core.readers import open_table

        self._pass += 1
        title = "surveying" if self._pass == 1 else "counting"
        columns = (TextColumn("{task.description:<10}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True)) as progress:
            task = progress.add_task(title, total=sum(source.size for source in self._sources))
            for source in self._sources:
                yield from open_table(source, text=self._text).batches()
                progress.advance(task, source.size)


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip()) if text else ()


def _summarise(frozen: FrozenBaseline, raised: tuple[Raised, ...], objects: int, out: str) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    console = Console(emoji=False)
    console.print(
        f"\nFroze [bold]{frozen.rows:,}[/bold] rows of {objects} object{'s' if objects != 1 else ''} into [bold]{escape(out)}[/bold]",
        highlight=False,
    )
    console.print(f"digest {frozen.digest}, {len(frozen.data):,} bytes", style="dim", highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("column", "kind", "bins", "nulls", "thresholds raised by the back-test"):
        table.add_column(title)
    for column in frozen.columns:
        mine = [item for item in raised if item.column == column.name]
        learnt = ", ".join(f"{item.check} {item.threshold:.2f}{' (cap: too variable)' if item.capped else ''}" for item in mine)
        rows = max(column.sketch.rows, 1)
        table.add_row(
            Text(clean(column.name)),
            column.kind,
            str(column.bins.size) if column.bins else "-",
            f"{column.sketch.nulls / rows:.1%}",
            learnt,
        )
    console.print(table)
    for name, why in frozen.untested.items():
        console.print(f"  not tested: {clean(name)} ({why})", style="dim", markup=False, highlight=False)
    if frozen.rows < 1000:
        console.print("  fewer than 1,000 rows: small changes cannot be told from chance", style="yellow")
