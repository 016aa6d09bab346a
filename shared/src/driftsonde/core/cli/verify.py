"""`driftsonde verify`: an event's checks, computed again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from driftsonde.core.errors import DriftsondeError
from driftsonde.core.text import clean

if TYPE_CHECKING:
    from driftsonde.core.events import Alarm
    from driftsonde.core.verifying import Finding, Stored


def verify(
    event: Annotated[
        Path,
        typer.Argument(
            help="drift.detected or data.untrusted as JSON, the CloudEvents envelope or its data; or a report on an episode; - for stdin."
        ),
    ],
    baseline: Annotated[Path | None, typer.Option("--baseline", "-b", help="The frozen baseline, made by `baseline build`.")] = None,
    window: Annotated[
        list[Path], typer.Option("--window", "-w", help="A window's data; the look-back oldest first, the judged one last.")
    ] = [],  # noqa: B006  # typer copies it
    api: Annotated[str | None, typer.Option("--api", help="Where the detector answers: the counts that the event does not carry.")] = None,
) -> None:
    """Recompute every check of an event from its counts.

    Checks whose counts the event does not carry are recomputed from the detector's stored sketches (--api), or from the data
    (--baseline and --window). Exit code 0 when all that could be recomputed agree, 1 when one does not, or none could be.
    """
    if api is not None and (baseline is not None or window):
        raise typer.BadParameter("give either --api, or --baseline and --window")
    if (baseline is None) != (not window):
        raise typer.BadParameter("--baseline and --window belong together")
    from driftsonde.core.verifying import read_alarm
    from driftsonde.core.verifying import verify as verify_checks

    alarm = read_alarm(_event(_read(event)))
    stored = None
    if api is not None:
        stored = _stored(alarm, api)
    elif baseline is not None:
        stored = _measured(baseline, window)
    findings = verify_checks(alarm, stored)
    _show(alarm, findings)
    failed = any(finding.wrong for finding in findings) or (bool(findings) and all(finding.recomputed is None for finding in findings))
    raise typer.Exit(1 if failed else 0)


def _read(path: Path) -> bytes:
    from driftsonde.core.cli.check import open_file

    if str(path) == "-":
        return sys.stdin.buffer.read()
    with open_file(path) as file:
        return file.read()


def _event(body: bytes) -> bytes:
    """Return the event of a report; anything else as it is."""
    if not body.lstrip()[:9].lower().startswith(b"<!doctype"):
        return body
    from driftsonde.core.report.page import event_of

    return event_of(body.decode("utf-8", "replace"))


def _stored(alarm: Alarm, url: str) -> Stored:
    from driftsonde.core.cli.remote import Detector
    from driftsonde.core.verifying import Stored

    if alarm.sketches is None:
        raise DriftsondeError("the event does not say where its sketches are: it was made before events did")
    with Detector(url) as detector:
        baseline = detector.baseline(alarm.monitor, alarm.baseline.version)
        return Stored(baseline, detector.lookback(alarm.sketches.link, baseline))


def _measured(baseline: Path, windows: list[Path]) -> Stored:
    from driftsonde.core.api import Baseline
    from driftsonde.core.cli.check import open_file
    from driftsonde.core.counting import count_object
    from driftsonde.core.readers import LocalSource
    from driftsonde.core.sketch.codec import SketchError
    from driftsonde.core.verifying import Stored

    try:
        frozen = Baseline.from_bytes(_read(baseline))
    except SketchError as exc:
        raise DriftsondeError(f"{baseline}: {exc}; `driftsonde baseline build` makes one") from exc
    for path in windows:
        open_file(path).close()
    return Stored(frozen, [count_object(frozen, LocalSource(path)) for path in windows])


def _show(alarm: Alarm, findings: list[Finding]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from driftsonde.core.cli.check import LINE

    console = Console(emoji=False)
    console.print(
        f"{alarm.TYPE}  {alarm.monitor}, episode {alarm.episode}, window {clean(alarm.window.id, LINE)}", markup=False, highlight=False
    )
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for title in ("column", "check", "said", "recomputed", "alarms from", "how", ""):
        table.add_column(title, justify="right" if title in ("said", "recomputed", "alarms from") else "left", overflow="fold")
    for finding in findings:
        found = finding.recomputed
        mark = Text("differs", "bold red") if finding.wrong else Text("agrees", "green") if found else Text("not recomputed", "yellow")
        numbers = (f"{found.score:.6f}", f"{found.critical:.6f}") if found else ("", "")
        table.add_row(Text(clean(finding.column)), finding.check, f"{finding.said:.6f}", *numbers, finding.how, mark)
    if findings:
        console.print(table)
    for finding in findings:
        for reason in finding.wrong:
            console.print(f"  {clean(finding.column)} {finding.check}: {clean(reason, LINE)}", style="red", markup=False, highlight=False)
    for why in dict.fromkeys(finding.why for finding in findings if finding.why):
        names = [f"{finding.column} {finding.check}" for finding in findings if finding.why == why]
        listed = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        console.print(f"  not recomputed: {clean(listed, LINE)}: {why}", style="yellow", markup=False, highlight=False)
    console.print(clean(_sentence(alarm, findings), LINE), markup=False, highlight=False)


def _sentence(alarm: Alarm, findings: list[Finding]) -> str:
    if not findings:
        return f"It carries no checks: {alarm.summary}"
    agree = sum(finding.recomputed is not None and not finding.wrong for finding in findings)
    wrong = sum(bool(finding.wrong) for finding in findings)
    left = (alarm.failing or len(findings)) - len(findings)
    text = f"{agree} of {len(findings)} checks agree" + (f", {wrong} differ" if wrong else "")
    return text + (f"; {left} more fail that the event does not list" if left > 0 else "") + "."
