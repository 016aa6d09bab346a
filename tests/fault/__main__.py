"""`python -m tests.fault`: the campaign on SQLite with one detector and on PostgreSQL with three, side by side; a table of what was promised and seen."""

from __future__ import annotations

import argparse
import ast
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console
from rich.table import Table

_FEW, _MANY, _ROUNDS = 6, 200, 1
_VERIFIER: Final = "test_verifier.py"
_HERE: Final = Path(__file__).parent
_ROOT: Final = _HERE.parents[1]
_HEADER: Final = """# Faults

<!-- Written by `make fault`; do not edit. -->

What was broken, what is promised then, and how many tests held, with real processes and a verifier outside them: the detector's bus, queues, objects and state
are real servers (NATS, PostgreSQL or SQLite, the emulator of S3 and SQS), and proxies between them do the damage. SQLite has one replica of the detector, PostgreSQL three.
A database that is not named in the table was not run.

Last run: {when:%Y-%m-%d %H:%M} UTC, {kills} random kills and as many stops.
"""
_PLANTED: Final = """
## Planted bugs

A verifier that sees nothing proves nothing: known bugs are planted in real processes, and it must say of each what is wrong. Without them the same runs must hold.

"""


class Fault(NamedTuple):
    """A fault of the table in docs/guarantees.md."""

    name: str
    what: str
    promise: str


def faults() -> dict[str, Fault]:
    """Return the faults by file, from what each file says of itself."""
    found = {}
    for path in sorted(_HERE.glob("test_f*.py")):
        text = ast.get_docstring(ast.parse(path.read_text())) or ""
        head, _, promise = text.partition("\n\nPromised: ")
        name, _, what = " ".join(head.split()).partition(" ")
        found[path.name] = Fault(name, what.rstrip("."), " ".join(promise.split()).rstrip("."))
    return found


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; returns 1 if something was not as promised."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    parser.add_argument("--only", nargs="+", metavar="F01", default=[], help="these faults; `verifier`: the planted bugs")
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both", help="both: side by side")
    parser.add_argument("--quick", action="store_true", help="six random kills and stops instead of two hundred, and without what is slow")
    parser.add_argument("--add", action="store_true", help="keep what earlier runs have seen of other faults")
    parser.add_argument("--show", action="store_true", help="run nothing: show, or write, what earlier runs have seen")
    parser.add_argument("--remark", default="", metavar="TEXT", help="what a reader of the written table must know of these runs")
    parser.add_argument("--write", type=Path, metavar="PATH", help="write the table as Markdown")
    options = parser.parse_args(argv)
    known = faults()
    chosen = [name for name, fault in known.items() if not options.only or fault.name in options.only]
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    files = [*chosen, *([_VERIFIER] if not options.only or "verifier" in options.only else [])]
    if not options.show:
        running = [_start(files, database, quick=options.quick, alone=len(databases) == 1, add=options.add) for database in databases]
        for process in running:
            process.wait()
    shown = [*known, _VERIFIER] if options.add or options.show else files
    seen = {database: _words(shown, database, quick=options.quick) for database in databases}
    planted = {database: words.pop(_VERIFIER) for database, words in seen.items() if _VERIFIER in words}
    _show(known, seen, planted)
    if options.write:
        options.write.write_text(_markdown(known, seen, planted, _FEW if options.quick else _MANY, options.remark))
    words = [*planted.values(), *(word for words in seen.values() for word in words.values())]
    return int(not all(word.startswith(("held", "found")) for word in words))


def _start(files: Sequence[str], database: str, *, quick: bool, alone: bool, add: bool) -> subprocess.Popen[bytes]:
    """Start to run files against one kind of database; what it says is shown as it comes, or kept in a file if there are two."""
    report = _report(database)
    report.parent.mkdir(exist_ok=True)
    if not add:
        report.unlink(missing_ok=True)
    numbers = {"KILLS": _MANY, "STOPS": _MANY, "ROUNDS": _ROUNDS, "BACKLOG": 10_000, "GIGABYTES": 10, "MONITORS": 1_000}
    much = {} if quick else {f"DRIFTSONDE_FAULT_{name}": str(number) for name, number in numbers.items()}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--timeout", "3600", "--durations=5"]
    command += ["-m", "not slow", "-n", "2", "--dist", "loadfile"] if quick else []
    command += [str(_HERE / name) for name in files]
    environment = {**os.environ, **much, "DRIFTSONDE_FAULT_DATABASE": database, "DRIFTSONDE_FAULT_REPORT": str(report)}
    if alone:
        return subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=sys.stderr)
    log = report.with_suffix(".log")
    print(f"on {database}: see {log.relative_to(_ROOT)}", file=sys.stderr)
    with log.open("wb") as file:
        return subprocess.Popen(command, cwd=_ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT)


def _report(database: str) -> Path:
    return _ROOT / ".fault" / f"{database}.jsonl"


def _words(files: Sequence[str], database: str, *, quick: bool) -> dict[str, str]:
    """Return what was seen of each file: of a test that ran twice, the last."""
    report = _report(database)
    noted = [json.loads(line) for line in report.read_text().splitlines()] if report.exists() else []
    outcomes: dict[str, dict[str, str]] = {}
    for line in noted:
        outcomes.setdefault(line["file"], {})[line["test"]] = line["outcome"]
    return {name: (_found if name == _VERIFIER else _seen)(outcomes.get(name, {}), quick=quick) for name in files}


def _seen(tests: Mapping[str, str], *, quick: bool) -> str:
    if not tests:
        return "held: left out, slow" if quick else "NOT RUN"
    count = Counter(tests.values())
    if count["failed"]:
        return f"BROKEN: {count['failed']} of {len(tests)}"
    return f"held: {count['passed']}" + (f", {count['skipped']} skipped" if count["skipped"] else "")


def _found(tests: Mapping[str, str], *, quick: bool) -> str:
    """Return how many of the planted bugs the verifier found, and whether it kept quiet where there was none."""
    planted = {name for name in tests if "planted" in name}
    failed = {name for name, outcome in tests.items() if outcome == "failed"}
    if not planted:
        return "left out, slow" if quick else "NOT RUN"
    if failed - planted:
        return "BROKEN: it fails without a bug"
    return f"{'MISSED' if failed else 'found'} {len(failed) or len(planted)} of {len(planted)}"


def _show(known: dict[str, Fault], seen: dict[str, dict[str, str]], planted: dict[str, str]) -> None:
    if any(seen.values()):
        table = Table("", "fault", "promised", *seen, title="Fault campaign: tests that held")
        for row in _rows(known, seen):
            table.add_row(*row)
        Console().print(table)
    if planted:
        table = Table(*planted, title="Planted bugs")
        table.add_row(*planted.values())
        Console().print(table)


def _rows(known: dict[str, Fault], seen: dict[str, dict[str, str]]) -> list[tuple[str, ...]]:
    names = next(iter(seen.values()))
    return [(*known[name], *(words[name] for words in seen.values())) for name in names]


def _markdown(known: dict[str, Fault], seen: dict[str, dict[str, str]], planted: dict[str, str], kills: int, remark: str) -> str:
    head = _HEADER.format(when=datetime.now(UTC), kills=kills) + (f"{remark}\n" if remark else "")
    text = head + "\n" + _table(("", "fault", "promised", *seen), _rows(known, seen))
    return text + (_PLANTED + _table(tuple(planted), [tuple(planted.values())]) if planted else "")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
