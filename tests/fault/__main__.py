"""`python -m tests.fault`: the campaign on SQLite with one detector, and on PostgreSQL with three; a table of what was promised and seen."""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table

_FEW, _MANY, _ROUNDS = 6, 200, 2
_VERIFIER: Final = "test_verifier.py"
_HERE: Final = Path(__file__).parent
_ROOT: Final = _HERE.parents[1]
_HEADER: Final = """# Faults

<!-- Written by `make fault`; do not edit. -->

What was broken, what is promised then, and how many tests held, with real processes and a verifier outside them: the detector's bus, queues, objects and state
are real servers (NATS, PostgreSQL or SQLite, the emulator of S3 and SQS), and proxies between them do the damage. SQLite has one replica of the detector, PostgreSQL three. Not tested in this
way yet: ten thousand drops of one monitor beside others (F23), a full disk (F30), clocks that jump (F31). A database that is not named in the table was not run.

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
    parser.add_argument("--database", choices=("sqlite", "postgresql", "both"), default="both")
    parser.add_argument("--quick", action="store_true", help="six random kills and stops instead of two hundred, and without what is slow")
    parser.add_argument("--write", type=Path, metavar="PATH", help="write the table as Markdown")
    options = parser.parse_args(argv)
    known = faults()
    chosen = [name for name, fault in known.items() if not options.only or fault.name in options.only]
    databases = ("sqlite", "postgresql") if options.database == "both" else (options.database,)
    files = [*chosen, *([_VERIFIER] if not options.only or "verifier" in options.only else [])]
    seen = {database: _run(files, database, quick=options.quick) for database in databases}
    planted = {database: words.pop(_VERIFIER) for database, words in seen.items() if _VERIFIER in words}
    _show(known, seen, planted)
    if options.write:
        options.write.write_text(_markdown(known, seen, planted, _FEW if options.quick else _MANY))
    words = [*planted.values(), *(word for words in seen.values() for word in words.values())]
    return int(not all(word.startswith(("held", "found")) for word in words))


def _run(files: Sequence[str], database: str, *, quick: bool) -> dict[str, str]:
    """Run files against one kind of database; returns what was seen of each. Output goes on as it comes."""
    report = _ROOT / ".fault" / f"{database}.xml"
    report.parent.mkdir(exist_ok=True)
    report.unlink(missing_ok=True)
    numbers = {"KILLS": _MANY, "STOPS": _MANY, "ROUNDS": _ROUNDS}
    much = {} if quick else {f"DRIFTSONDE_FAULT_{name}": str(number) for name, number in numbers.items()}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--junitxml={report}", "--timeout", "1800", "--durations=5"]
    command += ["-m", "not slow"] if quick else []
    command += [str(_HERE / name) for name in files]
    print(f"on {database}", file=sys.stderr)
    environment = {**os.environ, **much, "DRIFTSONDE_FAULT_DATABASE": database}
    subprocess.run(command, cwd=_ROOT, env=environment, stdout=sys.stderr, check=False)
    return {name: _found(report) if name == _VERIFIER else _seen(report, name, quick=quick) for name in files}


def _seen(report: Path, name: str, *, quick: bool) -> str:
    if not report.exists():
        return "NOT RUN"
    cases, broken = _cases(report, name)
    skipped = [case for case in cases if case.find("skipped") is not None]
    if quick and not cases:
        return "held: left out, slow"
    if broken or not cases:
        return f"BROKEN: {len(broken)} of {len(cases)}"
    return f"held: {len(cases) - len(skipped)}" + (f", {len(skipped)} skipped" if skipped else "")


def _found(report: Path) -> str:
    """Return how many of the planted bugs the verifier found, and whether it kept quiet where there was none."""
    if not report.exists():
        return "NOT RUN"
    cases, broken = _cases(report, _VERIFIER)
    planted = [case for case in cases if "planted" in case.get("name", "")]
    missed = [case for case in broken if case in planted]
    if len(broken) > len(missed) or not planted:
        return "BROKEN: it fails without a bug"
    return f"{'MISSED' if missed else 'found'} {len(missed) or len(planted)} of {len(planted)}"


def _cases(report: Path, name: str) -> tuple[list[ElementTree.Element], list[ElementTree.Element]]:
    """Return the tests of a file of ours, and those that failed."""
    cases = [case for case in ElementTree.parse(report).getroot().iter("testcase") if name[:-3] in case.get("classname", "")]
    return cases, [case for case in cases if case.find("failure") is not None or case.find("error") is not None]


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


def _markdown(known: dict[str, Fault], seen: dict[str, dict[str, str]], planted: dict[str, str], kills: int) -> str:
    text = _HEADER.format(when=datetime.now(UTC), kills=kills) + "\n" + _table(("", "fault", "promised", *seen), _rows(known, seen))
    return text + (_PLANTED + _table(tuple(planted), [tuple(planted.values())]) if planted else "")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
