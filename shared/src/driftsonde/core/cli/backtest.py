"""`driftsonde backtest`: what stored windows would have come to under another policy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from driftsonde.core.config import Policy, explain, parse_duration
from driftsonde.core.errors import DriftsondeError
from driftsonde.core.text import clean

if TYPE_CHECKING:
    from rich.console import Console

    from driftsonde.core.api import Baseline
    from driftsonde.core.cli.remote import Detector
    from driftsonde.core.monitoring.replay import Bill, Episode, Point, Replayed
    from driftsonde.core.sketch.table import TableSketch

DISTANCES = (0.05, 0.075, 0.10, 0.15, 0.20, 0.30, 0.40)
_THRESHOLDS = ("distance", "psi", "nulls", "outside", "invalid")
_SINGLE = ("alpha", "margin", "min_rows", "lookback", "psi_bins", "bad_rows", "clear_after")
KNOWN = (*_SINGLE, *(f"threshold.{name}" for name in _THRESHOLDS))
"""What `--set` takes."""


@dataclass(frozen=True)
class Series:
    """The windows of one baseline, in order.

    Args:
        warm: how many of the first ones are there only for the look-back of those that follow.
        verdicts: what was said of each when it came; nothing of files.
        when: when each began, where that is known.
    """

    baseline: Baseline
    windows: list[tuple[str, TableSketch]]
    warm: int
    verdicts: dict[str, str | None]
    when: dict[str, str]


@dataclass(frozen=True)
class Run:
    """What a policy would have said of all series, without the warm windows."""

    policy: Policy
    outcomes: list[Replayed]
    episodes: list[Episode]

    @property
    def bill(self) -> Bill:
        """What it would have cost."""
        from driftsonde.core.monitoring.replay import bill

        return bill(self.outcomes, self.episodes)


def backtest(
    files: Annotated[list[Path], typer.Argument(help="Window files, oldest first; with --baseline, without a detector.")] = [],  # noqa: B006  # typer copies it
    baseline: Annotated[
        Path | None, typer.Option("--baseline", "-b", help="Data to compare files with, or a file made by `baseline build`.")
    ] = None,
    monitor: Annotated[str | None, typer.Option(help="Replay the windows that the detector has of this monitor.")] = None,
    since: Annotated[str, typer.Option(help="How far back, e.g. 90d.")] = "90d",
    changes: Annotated[
        list[str], typer.Option("--set", help=f"The other policy: NAME=VALUE, several separated by commas. Names: {', '.join(KNOWN)}.")
    ] = [],  # noqa: B006  # typer copies it
    api: Annotated[str, typer.Option("--api", envvar="DRIFTSONDE_URL", help="Where the detector answers.")] = "http://127.0.0.1:8080",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the operating curve as SVG.")] = None,
    every: Annotated[bool, typer.Option("--all", help="List every window, not only those that alarm or differ.")] = False,
) -> None:
    """Replay stored windows under the present policy and another: what would have fired, when, and what it would have cost.

    The detector keeps a sketch of every window, so nothing is read from S3: a thousand windows take seconds.
    """
    if (monitor is None) == (not files):
        raise typer.BadParameter("give either --monitor, or window files with --baseline")
    if files and baseline is None:
        raise typer.BadParameter("window files need --baseline")
    wanted = read_changes(changes)
    if monitor is not None:
        present, series = _stored(api, monitor, since, wanted)
    else:
        assert baseline is not None  # asked for above
        present, series = Policy(), [_measured(baseline, files)]
    other = changed(present, wanted) if wanted else None
    runs = [run(series, policy) for policy in (present, other) if policy is not None]
    if not runs[0].outcomes:
        raise DriftsondeError(f"there is no window {'since ' + since + ' ago' if monitor else 'in the files'}")
    points = curve(series, runs[-1].policy)
    _show(monitor or str(baseline), series, runs, points, every=every)
    if out is not None:
        _draw(out, monitor or str(baseline), points, present.thresholds.distance)


def read_changes(given: Sequence[str]) -> dict[str, str]:
    """Read NAME=VALUE, several in one text separated by commas.

    Raises:
        DriftsondeError: naming the known names, for any other.
    """
    found = {}
    for item in (item.strip() for text in given for item in text.split(",")):
        name, equals, value = item.partition("=")
        name = name.strip().replace("thresholds.", "threshold.")
        if not equals or name not in KNOWN:
            raise DriftsondeError(f"--set {item!r}: expected NAME=VALUE with one of {', '.join(KNOWN)}")
        found[name] = value.strip()
    return found


def changed(policy: Policy, changes: dict[str, str]) -> Policy:
    """Return another policy.

    Raises:
        DriftsondeError: for a value that the configuration would not take.
    """
    from pydantic import ValidationError

    raw: dict[str, Any] = policy.model_dump()
    for name, value in changes.items():
        where = raw["thresholds"] if name.startswith("threshold.") else raw
        where[name.removeprefix("threshold.")] = value
    try:
        return Policy.model_validate(raw)
    except ValidationError as exc:
        raise DriftsondeError(f"--set: {explain(exc)}") from exc


def run(series: Sequence[Series], policy: Policy) -> Run:
    """Replay every series under a policy."""
    from driftsonde.core.monitoring.replay import episodes, replay
    from driftsonde.core.parameters import parameters_of

    outcomes: list[Replayed] = []
    found: list[Episode] = []
    for one in series:
        all_of_it = replay(one.baseline.columns, one.windows, parameters_of(policy))
        counted = all_of_it[one.warm :]
        outcomes += counted
        found += episodes(counted, clear_after=policy.clear_after)
    return Run(policy, outcomes, found)


def curve(series: Sequence[Series], policy: Policy) -> list[Point]:
    """Return what each distance threshold would have cost, over all series."""
    from driftsonde.core.monitoring.replay import Bill, Point, operating_curve
    from driftsonde.core.parameters import parameters_of

    found: list[Point] = []
    for one in series:
        mine = operating_curve(
            one.baseline.columns, one.windows, parameters_of(policy), DISTANCES, warm=one.warm, clear_after=policy.clear_after
        )
        for place, point in enumerate(mine):
            if place == len(found):
                found.append(point)
            else:
                a, b = found[place].bill, point.bill
                added = Bill(a.windows + b.windows, a.alarms + b.alarms, a.messages + b.messages, 0)
                found[place] = Point(point.distance, added)
    return found


def _stored(url: str, monitor: str, since: str, changes: dict[str, str]) -> tuple[Policy, list[Series]]:
    from driftsonde.core.cli.remote import Detector

    length = parse_duration(since)
    if not isinstance(length, timedelta):
        raise DriftsondeError(f"--since {since!r}: expected a length such as 90d, 12h or 2w")
    try:
        begin = datetime.now(UTC) - length
    except OverflowError:
        begin = datetime.min.replace(tzinfo=UTC)
    with Detector(url) as detector:
        policy = Policy.model_validate(detector.monitor(monitor)["policy"])
        reach = max(item.lookback for item in (policy, changed(policy, changes))) - 1
        return policy, list(_series(detector, monitor, begin, reach))


def _series(detector: Detector, monitor: str, begin: datetime, reach: int) -> Iterator[Series]:
    """Yield the windows of each baseline version that began at or after a time, with the trusted ones before them."""
    listed = [window for window in detector.windows(monitor) if window["verdict"] is not None]
    for version in sorted({window["baseline"] for window in listed}):
        mine = [window for window in listed if window["baseline"] == version]
        first = next((place for place, window in enumerate(mine) if _time(window) >= begin), None)
        if first is None:
            continue
        trusted = [place for place in range(first) if mine[place]["verdict"] != "untrusted"]
        start = trusted[-reach:][0] if reach and trusted else first
        baseline = detector.baseline(monitor, version)
        windows = [window for window in detector.windows_from(monitor, mine[start]["id"], baseline) if window.verdict is not None]
        warm_names = {window["id"] for window in mine[start:first]}
        yield Series(
            baseline, [(window.name, window.table) for window in windows], sum(window.name in warm_names for window in windows),
            {window.name: window.verdict for window in windows}, {window["id"]: _time(window).strftime("%Y-%m-%d %H:%M") for window in mine},
        )  # fmt: skip


def _time(window: dict[str, Any]) -> datetime:
    given = window.get("start") or window.get("first_drop")
    return datetime.fromisoformat(given) if given else datetime.min.replace(tzinfo=UTC)


def _measured(baseline: Path, files: Sequence[Path]) -> Series:
    from driftsonde.core.api import Parameters
    from driftsonde.core.cli.check import frozen_of, open_file, sketch_of

    for path in (baseline, *files):
        open_file(path).close()
    frozen = frozen_of(baseline, parameters=Parameters())
    return Series(frozen, [(str(path), sketch_of(frozen, path).table) for path in files], 0, {}, {})


def _draw(out: Path, name: str, points: Sequence[Point], present: float) -> None:
    from driftsonde.core.cli.curve import draw

    try:
        out.write_text(draw(points, f"{name}: what a distance threshold costs", present))
    except OSError as exc:
        raise DriftsondeError(f"cannot write {out}: {exc.strerror}") from exc


def _show(name: str, series: Sequence[Series], runs: Sequence[Run], points: Sequence[Point], *, every: bool) -> None:
    from rich.console import Console
    from rich.markup import escape

    from driftsonde.core.cli.check import LINE

    console = Console(emoji=False)
    windows = len(runs[0].outcomes)
    console.print(
        f"\n[bold]{escape(clean(name, LINE))}[/bold]  {windows:,} windows, {sum(one.warm for one in series):,} before them for the look-back",
        highlight=False,
    )
    _show_windows(console, series, runs, every=every)
    _show_episodes(console, series, runs)
    _show_curve(console, points, runs[0].policy.thresholds.distance)
    said = {name: word for one in series for name, word in one.verdicts.items()}
    changed_since = sum(outcome.window in said and said[outcome.window] != outcome.word for outcome in runs[0].outcomes)
    if changed_since:
        _note(console, f"{changed_since} windows were judged otherwise when they came: the policy, or what came late, has changed since")
    if any(column.thresholds for one in series for column in one.baseline.columns):
        _note(console, "the baseline's own back-test raised thresholds of some columns; lower ones do not apply to them")


def _note(console: Console, text: str) -> None:
    console.print(f"  {text}", style="dim", markup=False, highlight=False)


def _show_windows(console: Console, series: Sequence[Series], runs: Sequence[Run], *, every: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from driftsonde.core.cli.check import COLORS, LINE

    when = {name: begun for one in series for name, begun in one.when.items()}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("window", *(["began"] if when else []), "present policy", *(["other policy"] if len(runs) > 1 else []), "columns"):
        table.add_column(title, overflow="fold")
    for outcomes in zip(*(one.outcomes for one in runs), strict=True):
        if every or any(outcome.alarms for outcome in outcomes) or len({outcome.word for outcome in outcomes}) > 1:
            columns = list(dict.fromkeys(column for outcome in outcomes for column in outcome.columns))
            names = ", ".join(columns[:5]) + (f" and {len(columns) - 5} more" if len(columns) > 5 else "")
            words = [Text(outcome.word, COLORS[outcome.word]) for outcome in outcomes]
            begun = [when.get(outcomes[0].window, "")] if when else []
            table.add_row(Text(clean(outcomes[0].window, LINE)), *begun, *words, Text(clean(names, LINE)))
    if table.row_count:
        console.print(table)
    else:
        _note(console, "no window would have alarmed; --all lists them")


def _show_episodes(console: Console, series: Sequence[Series], runs: Sequence[Run]) -> None:
    from rich.table import Table

    from driftsonde.core.cli.check import LINE

    when = {name: begun for one in series for name, begun in one.when.items()}
    for title, one in zip(("present", "other"), runs, strict=False):
        for episode in one.episodes:
            began, end = (
                f"{name} ({when[name]})" if name in when else name for name in (episode.opened, episode.cleared or "now, still open")
            )
            console.print(f"  {title}: {episode.kind} from {clean(began, LINE)} to {clean(end, LINE)}", markup=False, highlight=False)
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title="what it would have cost", title_justify="left")
    for title in ("policy", "alarming windows", "messages", "training jobs"):
        table.add_column(title, justify="left" if title == "policy" else "right")
    for title, one in zip(("present", "other"), runs, strict=False):
        cost = one.bill
        table.add_row(title, f"{cost.alarms} of {cost.windows}", str(cost.messages), str(cost.trainings))
    console.print(table)


def _show_curve(console: Console, points: Sequence[Point], present: float) -> None:
    from rich.table import Table

    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        header_style="dim",
        title="distance threshold (ks, tv); psi and the rest as in the last policy",
        title_justify="left",
    )
    for title in ("threshold", "alarms per window", "", "episodes"):
        table.add_column(title, justify="left" if not title else "right")
    for point in points:
        share = point.bill.alarms / max(point.bill.windows, 1)
        mark = " (today)" if point.distance == present else ""
        table.add_row(f"{point.distance:g}{mark}", f"{share:.1%}", bar(share), str(point.bill.messages))
    console.print(table)


def bar(share: float, width: int = 30) -> str:
    """Return a share of a line, in eighths of a character."""
    eighths = round(share * width * 8)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8]).strip()
