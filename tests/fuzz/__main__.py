"""`python -m tests.fuzz`: damage good inputs at random; whatever is neither taken nor refused is a failure, and is kept below found/.

Each target runs in a process of its own: one that dies or hangs is a failure like any other.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from .campaign import fuzz
from .mutate import mutated
from .targets import NAMES, targets

_FOUND: Final = Path(__file__).parent / "found"


def main(argv: list[str] | None = None) -> int:
    """Fuzz; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="for each target (default: 60)")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="these targets")
    parser.add_argument("--seed", type=int, default=0, help="of the first input (default: 0)")
    options = parser.parse_args(argv)
    table = Table("target", "inputs", "a second", "refused", "accepted", "failures", title="Fuzzing")
    failed = False
    for name in options.only:
        words, failures = fuzz(name, options.seed, options.seconds)
        corpus = targets()[name].corpus
        for seed, what in failures:
            kept = _FOUND / f"{name}-{seed}"
            kept.write_bytes(mutated(corpus, seed))
            print(f"{name}, seed {seed}, kept as {kept}:\n{what}", file=sys.stderr)
        failed |= bool(failures)
        total = words.total()
        table.add_row(
            name, f"{total:,}", f"{total / options.seconds:,.0f}", f"{words['refused']:,}", f"{words['accepted']:,}", str(len(failures))
        )
    Console().print(table)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
