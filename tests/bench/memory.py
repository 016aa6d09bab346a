"""Peak memory of a process that reads a large Parquet object with large row groups."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from driftsonde.core.api import Baseline

from . import data
from .children import child_environment
from .measure import ROOT, Options, progress
from .tables import Goal, Table, figure, size

SECTION = "Memory: peak of a process"
_GROUP = 1_250_000  # rows of a row group: about 150 MB
_GIGABYTE = 7 * _GROUP
_TIMES = 3  # the peak varies little; the largest of these is reported
_LIMIT, _GROWTH = 256.0, 1.10


def run(options: Options) -> list[Table]:
    """Measure one object, and with `large` one that is ten times as large."""
    sizes = [_GIGABYTE, 10 * _GIGABYTE] if options.large else [_GIGABYTE]
    group = options.rows(_GROUP)
    paths = {options.rows(count): data.parquet(options.rows(count), data.COLUMNS, group=group) for count in sizes}
    peaks = {(name, count): measure(path) for name, measure in _PROCESSES.items() for count, path in paths.items()}
    rows = [
        (name, f"{figure(paths[count].stat().st_size / 1e6)} MB", size(count), size(group), figure(peak["before"]), figure(peak["peak"]))
        for (name, count), peak in peaks.items()
    ]
    head = ("process", "object", "rows", "of a row group", "MiB before reading", "peak MiB")
    note = f"VmHWM of a child process, the largest of {_TIMES}."
    goals = [goal for name in _PROCESSES for goal in _goals(name, [peaks[name, count]["peak"] for count in paths])]
    return [Table("reading one object", head, tuple(rows), note, () if options.quick else tuple(goals))]


def _goals(name: str, peaks: list[float]) -> list[Goal]:
    labels = ("1 GB object", "10 GB object")
    goals = [
        Goal(f"{name}: peak memory, {label}", _LIMIT, peak, at_least=False, unit="MiB") for label, peak in zip(labels, peaks, strict=False)
    ]
    if len(peaks) > 1:
        goals.append(Goal(f"{name}: peak memory, 10 GB over 1 GB", _GROWTH, peaks[1] / peaks[0], at_least=False))
    return goals


def _library(path: Path) -> dict[str, float]:
    """Measure `count_object` and `judge` alone, without services."""
    progress(f"read {path.parent.name}")
    built = Baseline.build(list(data.batches(data.REFERENCE_ROWS, data.COLUMNS, seed=1)))
    with tempfile.NamedTemporaryFile() as file:
        file.write(built.data)
        file.flush()
        return max((_read(file.name, path) for _ in range(_TIMES)), key=lambda answer: answer["peak"])


def _read(baseline: str, path: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.reading", baseline, str(path)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, env=child_environment(), cwd=ROOT)
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


_PROCESSES: dict[str, Callable[[Path], dict[str, float]]] = {"library": _library}
"""What reads the object: a function from its path to MiB `before` reading and at the `peak`. A service's process is one more."""
