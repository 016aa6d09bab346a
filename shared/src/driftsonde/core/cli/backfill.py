"""`driftsonde backfill`: what a monitor would have said of objects that were there before it."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from driftsonde.core.config import Monitor, ObjectWindow, Policy, RowsWindow, TimeWindow, load_config, parse_duration
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.text import clean

if TYPE_CHECKING:
    from driftsonde.core.api import Baseline
    from driftsonde.core.config.monitors import Window
    from driftsonde.core.places import Found, Places
    from driftsonde.core.scale.backfill import Counted
    from driftsonde.core.scale.runs import Engine

EngineName = Literal["local", "spark"]
"""Who does the work: this process, or the executors of a Spark session."""
_SHOWN = 20


def backfill(
    data: Annotated[list[str], typer.Argument(help="Files, folders or s3:// prefixes, oldest first; each in the order of its names.")],
    baseline: Annotated[str, typer.Option("--baseline", "-b", help="A file made by `baseline build`, or its s3:// address.")],
    monitor: Annotated[str | None, typer.Option(help="Take windows, policy and format from this monitor of the configuration.")] = None,
    config: Annotated[Path, typer.Option(help="The configuration file, for --monitor.")] = Path("driftsonde.yaml"),
    window: Annotated[str | None, typer.Option(help="object, a number of rows, or COLUMN:LENGTH, e.g. event_time:1d.")] = None,
    engine: Annotated[EngineName, typer.Option(help="spark: on the executors of a Spark session.")] = "local",
    out: Annotated[
        str | None, typer.Option("--out", "-o", help="Write the lines to a file or an s3:// address; default: print them.")
    ] = None,
) -> None:
    """Judge what was there before the monitor, each window with those before it as its look-back: one JSON line for each.

    Lines are as those of `check --json`. Objects are read once, by as many workers as the engine has; no service sees them, and nothing
    is trained or announced. Exit code 0 whatever the verdicts are.
    """
    configured, owners = _configured(monitor, config)
    windows = _window(window) if window is not None else configured.window if configured is not None else ObjectWindow()
    policy = configured.policy if configured is not None else Policy()
    with engine_of(engine, owners) as (places, workers):
        frozen = _baseline(places, baseline)
        objects = [found for name in data for found in places.find(name)]
        if not objects:
            raise DriftsondeError(f"there is nothing at {', '.join(data)}")
        counted = _count(workers, objects, frozen, windows, configured)
        words: Counter[str] = Counter()
        lines = _judged(frozen, counted, policy, words)
        if out is None:
            for line in lines:
                print(line, flush=True)
        else:
            places.write(out, "".join(line + "\n" for line in lines).encode())
    _summarise(counted, words, len(objects))


@contextmanager
def engine_of(name: EngineName, owners: Mapping[str, str]) -> Iterator[tuple[Places, Engine]]:
    """Yield what lies at addresses, and who does the work.

    Raises:
        ConfigError: if Spark is wanted and not installed.
    """
    from driftsonde.core.places import places
    from driftsonde.core.scale.runs import OneProcess

    with places(owners) as opened:
        if name == "local":
            yield opened, OneProcess(opened)
            return
        from driftsonde.core.scale.spark import Spark, session

        spark = session()
        try:
            workers = Spark(spark, owners)
            yield opened, workers
            print(f"counted by {len(workers.workers)} worker processes", file=sys.stderr)
        finally:
            spark.stop()


def _configured(monitor: str | None, config: Path) -> tuple[Monitor | None, Mapping[str, str]]:
    if monitor is None:
        return None, {}
    read = load_config(config)
    configured = read.monitor(monitor)
    if configured is None:
        raise DriftsondeError(f"{config}: there is no monitor {monitor!r}")
    return configured, read.bucket_owners


def _window(text: str) -> Window:
    if text == "object":
        return ObjectWindow()
    if text.isascii() and text.isdigit() and int(text) > 0:
        return RowsWindow(by="rows", size=int(text))
    column, _, length = text.rpartition(":")
    try:
        duration = parse_duration(length)
    except ValueError as exc:
        raise DriftsondeError(f"--window {text!r}: {exc}") from exc
    if not column or not isinstance(duration, timedelta) or duration <= timedelta(0):
        raise DriftsondeError(f"--window {text!r}: expected object, a number of rows, or COLUMN:LENGTH, e.g. event_time:1d")
    return TimeWindow(by="time", column=column, size=duration)


def _baseline(places: Places, address: str) -> Baseline:
    from driftsonde.core.api import Baseline
    from driftsonde.core.sketch.codec import SketchError

    try:
        return Baseline.from_bytes(places.read(address))
    except SketchError as exc:
        raise DriftsondeError(f"{address}: {exc}; make one with `driftsonde baseline build`") from exc


def _count(engine: Engine, objects: list[Found], frozen: Baseline, window: Window, configured: Monitor | None) -> Counted:
    from driftsonde.core.scale.backfill import count_on

    form = configured.format if configured is not None else "auto"
    return count_on(engine, objects, frozen, window, datetime.now(UTC), form=form)


def _judged(frozen: Baseline, counted: Counted, policy: Policy, words: Counter[str]) -> Iterator[str]:
    """Yield a line for each window, and count the verdicts."""
    from driftsonde.core.api import Sketch, judge
    from driftsonde.core.cli.check import as_line
    from driftsonde.core.parameters import parameters_of

    history: list[Sketch] = []
    parameters = parameters_of(policy)
    for name, table in counted.windows:
        sketch = Sketch(frozen, table)
        verdict = judge(frozen, [*history, sketch], parameters)
        if verdict.word != "untrusted":
            history = [*history, sketch][1 - policy.lookback :] if policy.lookback > 1 else []
        words[verdict.word] += 1
        yield json.dumps(as_line(name, verdict))


def _summarise(counted: Counted, words: Counter[str], objects: int) -> None:
    verdicts = ", ".join(f"{count} {word}" for word, count in sorted(words.items())) or "none"
    print(f"{len(counted.windows)} windows of {objects} objects: {verdicts}", file=sys.stderr)
    if counted.invalid_times:
        print(f"{counted.invalid_times} rows are in no window: their time could not be used", file=sys.stderr)
    for address, why in list(counted.unreadable.items())[:_SHOWN]:
        print(f"unreadable: {clean(f'{address}: {why}', 400)}", file=sys.stderr)
    if len(counted.unreadable) > _SHOWN:
        print(f"and {len(counted.unreadable) - _SHOWN} more that cannot be read", file=sys.stderr)
