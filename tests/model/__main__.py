"""`python -m tests.model`: run many random schedules of the protocol, and fewer of each mistake planted in it; a table of both."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from typing import Final

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from .schedule import run, violations
from .world import Protocol

_CHUNK: Final = 2_000
_PLANTED: Final = 5_000


def explore(protocol: Protocol, first: int, count: int) -> tuple[Counter[str], list[int]]:
    """Run schedules by seed; returns how many broke each promise, and the seeds of those that broke any."""
    broken: Counter[str] = Counter()
    seeds = []
    for seed in range(first, first + count):
        if found := violations(seed, protocol):
            broken.update(found)
            seeds.append(seed)
    return broken, seeds


def main(argv: list[str] | None = None) -> int:
    """Explore; returns 1 if the protocol broke a promise or a planted mistake broke none."""
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100_000, help="of the protocol as it is (default: 100000)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    parser.add_argument("--show", type=int, metavar="SEED", help="print how one schedule ended")
    options = parser.parse_args(argv)
    if options.show is not None:
        Console().print(run(options.show, Protocol()))
        return 0
    variants = {"the protocol": (Protocol(), options.schedules)}
    variants |= {field.name: (Protocol(**{field.name: True}), _PLANTED) for field in fields(Protocol)}
    results: dict[str, tuple[Counter[str], list[int]]] = {name: (Counter(), []) for name in variants}
    with ProcessPoolExecutor(options.workers) as pool, Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        tasks = [
            (name, pool.submit(explore, protocol, first, min(_CHUNK, count - first)))
            for name, (protocol, count) in variants.items()
            for first in range(0, count, _CHUNK)
        ]
        bar = progress.add_task("schedules", total=len(tasks))
        for name, task in tasks:
            broken, seeds = task.result()
            results[name][0].update(broken)
            results[name][1].extend(seeds)
            progress.advance(bar)
    table = Table("variant", "schedules", "break a promise", "which, mostly", "a seed", title="Random crash schedules")
    for name, (_, count) in variants.items():
        broken, seeds = results[name]
        most = broken.most_common(1)[0][0] if broken else "-"
        table.add_row(name, f"{count:,}", f"{len(seeds) / count:.1%}" if seeds else "0", most, str(seeds[0]) if seeds else "-")
    Console().print(table)
    return int(bool(results["the protocol"][1]) or not all(seeds for name, (_, seeds) in results.items() if name != "the protocol"))


if __name__ == "__main__":
    sys.exit(main())
