"""`python -m tests.quality [--quick] [--only SECTION ...] [--write]`: tables on standard output, progress on standard error."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable

from . import carloan, certificate, flights, peers, plots, power, quiet, report, season
from .report import FOLDER, PAGE, Section, Table
from .tasks import Task, run, total

SECTIONS: dict[str, tuple[Callable[[bool], Iterator[Task]], Callable[[Any, bool], Section]]] = {
    "quiet": (quiet.quiet_tasks, quiet.quiet),
    "wobble": (quiet.wobble_tasks, quiet.wobble),
    "power": (power.tasks, power.power),
    "season": (season.tasks, season.season),
    "flights": (flights.tasks, flights.section),
    "carloan": (carloan.tasks, carloan.carloan),
    "certificate": (certificate.tasks, certificate.certificate),
    "peers": (peers.tasks, peers.peers),
}
"""Each section's work, and what makes its tables of the results."""

_WIDTH = 220


def main() -> int:
    """Run the chosen sections; 1 when a goal was missed that is not explained in the notes."""
    arguments = _arguments()
    found = {}
    if not arguments.render:
        found = _measure(arguments.only or list(SECTIONS), arguments)
    elif report.load():
        _write({})
    if found:
        _show(report.goals(found))
    return int(bool(report.unexplained(found)))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a look in two minutes; too few windows to prove a rate")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--write", action="store_true", help="write docs/quality.md; other sections' figures stay as they are")
    parser.add_argument("--render", action="store_true", help="write docs/quality.md again from the figures of the last run")
    arguments = parser.parse_args()
    if arguments.quick and arguments.write:
        parser.error("--quick has too few windows for docs/quality.md")
    return arguments


def _measure(names: Sequence[str], arguments: argparse.Namespace) -> dict[str, Section]:
    work = [(name, list(SECTIONS[name][0](arguments.quick))) for name in names]
    found: dict[str, Section] = {}
    columns = (TextColumn("{task.description:>12}"), BarColumn(60), TextColumn("{task.percentage:>3.0f} %"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bars = {name: progress.add_task(name, total=total(tasks)) for name, tasks in work}
        for name, results in run(work, lambda name, effort: progress.advance(bars[name], effort)):
            found[name] = SECTIONS[name][1](results, arguments.quick)
            _print(name, found[name])
            if arguments.write:  # at once: what follows takes minutes
                _write({name: found[name]})
    return found


def _print(name: str, section: Section) -> None:
    console = Console(width=_WIDTH)
    console.rule(name)
    if section.skipped:
        console.print(f"skipped: {section.skipped}")
    for table in section.tables:
        _show(table)
    if section.goals:
        _show(report.goals({name: section}))


def _show(table: Table) -> None:
    shown = RichTable(title=escape(table.title), title_justify="left")
    for i, name in enumerate(table.head):
        shown.add_column(escape(name), justify="right" if i else "left")
    for row in table.rows:
        shown.add_row(*(escape(cell.replace("*", "")) for cell in row))
    Console(width=_WIDTH).print(shown)


def _write(new: Mapping[str, Section]) -> None:
    sections = {**report.load(), **new}
    ordered = {name: sections[name] for name in SECTIONS if name in sections}
    report.save(ordered)
    plots.draw(ordered, FOLDER)
    PAGE.write_text(report.page(ordered))


if __name__ == "__main__":
    raise SystemExit(main())
