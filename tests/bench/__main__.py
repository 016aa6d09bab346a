"""`python -m tests.bench`: tables on standard output, progress on standard error."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

from . import growth, judging, kernel, memory, merge, objects, peer_tools, service
from .measure import ROOT, Options, progress
from .report import document, show
from .tables import Table, from_json, to_json

SECTIONS: dict[str, ModuleType] = {
    "kernel": kernel, "objects": objects, "peers": peer_tools, "memory": memory, "merge": merge, "growth": growth, "judge": judging,
    "service": service,
}  # fmt: skip
"""A section is a module with `SECTION`, its title, and `run(options) -> list[Table]`."""

DOCUMENT = ROOT / "docs" / "benchmarks.md"


def main() -> int:
    """Run the sections; return 1 if one of them failed."""
    arguments = _arguments()
    options = Options(quick=arguments.quick, large=arguments.large, rounds=arguments.rounds or (2 if arguments.quick else 5))
    if arguments.tables:
        arguments.tables.write_text(json.dumps(to_json(SECTIONS[arguments.only[0]].run(options))))
        return 0
    began = time.monotonic()
    results: dict[str, tuple[str, list[Table]]] = {}
    for name in arguments.only or SECTIONS:
        tables = _in_child(name, options)
        results[name] = (SECTIONS[name].SECTION, tables)
        show(results[name][0], tables)
    if arguments.write:
        command = "python -m tests.bench " + shlex.join(sys.argv[1:])
        arguments.write.write_text(document(results, options, command, time.monotonic() - began))
        progress(f"wrote {arguments.write}")
    return int(any(table.title == _FAILED for _, tables in results.values() for table in tables))


_FAILED = "failed"


def _in_child(name: str, options: Options) -> list[Table]:
    """Run a section in a process of its own: none finds the memory as another left it, and one that fails does not end the run."""
    print(f"{name} …", file=sys.stderr, flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tables.json"
        flags = [flag for flag, given in (("--quick", options.quick), ("--large", options.large)) if given]
        command = [sys.executable, "-m", "tests.bench", "--only", name, "--tables", str(path), "--rounds", str(options.rounds), *flags]
        done = subprocess.run(command, cwd=ROOT, check=False)
        progress(f"{time.monotonic() - began:.0f} s")
        if done.returncode:
            return [Table(_FAILED, ("section", "exit code"), ((name, str(done.returncode)),))]
        return from_json(json.loads(path.read_text()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=SECTIONS, metavar="SECTION", help=f"some of: {', '.join(SECTIONS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, for developing: under three minutes, no reliable figures")
    parser.add_argument("--large", action="store_true", help="the 10 GB object too; needs as much disk")
    parser.add_argument("--rounds", type=int, help="how often each thing is measured (default: 5; quick: 2)")
    parser.add_argument("--write", nargs="?", type=Path, const=DOCUMENT, metavar="PATH", help="write docs/benchmarks.md, or PATH")
    parser.add_argument("--tables", type=Path, help=argparse.SUPPRESS)  # how a section's process hands its tables back
    arguments = parser.parse_args()
    if arguments.write == DOCUMENT and (arguments.quick or arguments.only):
        parser.error("docs/benchmarks.md holds one full run; give another PATH for a part of it, or for a quick one")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
