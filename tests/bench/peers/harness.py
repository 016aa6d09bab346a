"""The protocol between the benchmark and a runner: one JSON line when ready, then one for each "go" that is read.

A runner imports its tool and fits its reference before it is ready; only what `measure` does is timed. Needs numpy alone,
and pandas for reading files: it runs in environments that are not ours.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Columns = dict[str, NDArray[np.float64]]
Measure = Callable[[], dict[str, float]]
"""Does the work that is timed; returns the KS distance of each column, or nothing where the tool gives none."""


@dataclass(frozen=True)
class Order:
    """What to measure.

    Args:
        form: `memory`, or the format of a file: `parquet`, `csv`, `jsonl`.
        folder: where W1 is.
        rows: how many of its first rows are the window, in memory.
        reference: how many of its first rows are the reference.
    """

    form: str
    folder: Path
    rows: int
    reference: int

    @property
    def path(self) -> Path:
        """The window as a file."""
        return self.folder / f"window.{self.form}"


def load(order: Order, name: str, rows: int) -> Columns:
    """Read the first rows of W1 into memory of their own; NaN where a value is missing."""
    stored = np.load(order.folder / f"{name}.npy", mmap_mode="r")
    return {f"x{index:03d}": np.array(column[:rows]) for index, column in enumerate(stored)}


def reference(order: Order) -> Columns:
    """Return the reference."""
    return load(order, "reference", order.reference)


def frame(columns: Columns) -> Any:
    """Return columns as a pandas frame; pandas is not there in every environment."""
    import pandas as pd

    return pd.DataFrame(columns)


def window_frame(order: Order) -> Callable[[], Any]:
    """Return a function that gives the window as a pandas frame: from memory, or by reading the file each time."""
    import pandas as pd

    if order.form == "memory":
        ready = frame(load(order, "window", order.rows))
        return lambda: ready
    if order.form == "jsonl":
        return lambda: pd.read_json(order.path, lines=True)
    return lambda: (pd.read_csv if order.form == "csv" else pd.read_parquet)(order.path)


def window(order: Order) -> Callable[[], Columns]:
    """Return a function that gives the window's columns: from memory, or through pandas by reading the file each time."""
    if order.form == "memory":
        ready = load(order, "window", order.rows)
        return lambda: ready
    read = window_frame(order)
    return lambda: {name: column.to_numpy() for name, column in read().items()}


def present(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Leave out missing values."""
    return values[~np.isnan(values)]


def serve(prepare: Callable[[Order], Measure], *packages: str) -> None:
    """Prepare, then measure as often as asked.

    Args:
        prepare: fits the reference and returns what is measured.
        packages: whose versions are reported.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a tool prints must not come between the answers
    form, folder, rows, reference_rows = sys.argv[1:]
    measure = prepare(Order(form, Path(folder), int(rows), int(reference_rows)))
    print(json.dumps({"versions": {name: version(name) for name in packages}}), file=answers, flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        distances = measure()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu": cpu, "wall": wall, "distances": distances}), file=answers, flush=True)
