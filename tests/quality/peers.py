"""Are the rules of `rules.py` those of the packages? Asked of the packages, where `make bench` has installed them.

A small sample goes to each in a process of its own environment (`peer_evidently.py`, `peer_nannyml.py`, which know nothing of
this repository), and comes back as flags.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .data import Change, Matrix, draw_table, levels_of, ten, to_batch
from .flights import days_of, january_days
from .realdata import flights
from .report import Section, Table
from .rules import EVIDENTLY_ANY, NANNYML, TableRules
from .tasks import Task

ENVIRONMENTS = Path(__file__).parents[2] / ".bench" / "envs"
PACKAGES = {"evidently": EVIDENTLY_ANY, "nannyml": NANNYML}
_WINDOWS = 12


def tasks(quick: bool) -> Iterator[Task]:
    """Yield a task for each package and sample, where the package is."""
    for package in PACKAGES:
        if python(package).exists():
            for sample in ("simulated",) if quick else ("simulated, small baseline", "simulated", "flights"):
                yield Task(_compare, (package, sample), 60)


def python(package: str) -> Path:
    """Return the interpreter of a package's environment."""
    return ENVIRONMENTS / package / "bin" / "python"


def _simulated(rows: int) -> tuple[dict[str, Matrix], list[dict[str, Matrix]], dict[str, Sequence[str]]]:
    """Return chunks of a baseline, and windows of which every second one is changed."""
    random = np.random.default_rng([10, rows])
    columns = ten()
    chunks = draw_table(random, columns, 200, windows=rows // 200)
    moved = {column.name: Change(shift=0.15) for column in columns}
    windows = [draw_table(random, columns, 200, changes=moved if i % 2 else None) for i in range(_WINDOWS)]
    return chunks, windows, levels_of(columns)


def _sample(name: str) -> tuple[dict[str, Matrix], dict[str, Matrix], Mapping[str, Sequence[str]]]:
    """Return chunks of a baseline and windows, as matrices padded to one length, and the names of levels."""
    if name == "flights":
        rows = flights()
        return rows.ragged(january_days()), rows.ragged(days_of()), rows.levels
    chunks, windows, levels = _simulated(800 if "small" in name else 6_000)
    return chunks, {column: np.concatenate([window[column] for window in windows]) for column in chunks}, levels


def _compare(package: str, sample: str) -> tuple[str, str, str, int, int, list[str]]:
    """Return how many flags of how many are equal, and which are not."""
    chunks, windows, levels = _sample(sample)
    rules = TableRules(chunks, {name: len(found) for name, found in levels.items()})
    rules.learn(chunks)
    own = rules.flags(windows).columns[PACKAGES[package]]
    with tempfile.TemporaryDirectory() as folder:
        for name, values in (("reference", chunks), ("windows", windows)):
            pq.write_table(_long(values, levels), Path(folder) / f"{name}.parquet")
        script = Path(__file__).with_name(f"peer_{package}.py")
        done = subprocess.run([python(package), script, folder], check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    theirs = np.array([found["flags"][name] for name in windows]).T
    wrong = [f"{name}, window {i + 1}" for i, j in zip(*np.nonzero(own != theirs), strict=True) for name in [list(windows)[j]]]
    return package, found["version"], sample, int((own == theirs).sum()), own.size, wrong


def _long(values: Mapping[str, Matrix], levels: Mapping[str, Sequence[str]]) -> pa.Table:
    """Return windows one below the other, with their number; rows that only pad are left out."""
    count = len(next(iter(values.values())))
    parts = []
    for i in range(count):
        padding = np.all([np.isnan(m[i]) if m.dtype.kind == "f" else m[i] < 0 for m in values.values()], axis=0)
        batch = to_batch(levels, {name: matrix[:, ~padding] for name, matrix in values.items()}, i)
        parts.append(batch.append_column("chunk", pa.array(np.full(batch.num_rows, i))))
    table = pa.Table.from_batches(parts)
    for place, name in enumerate(table.column_names):
        if name in levels:
            table = table.set_column(place, name, table.column(name).cast(pa.string()))
    return table


def peers(results: Sequence[tuple[str, str, str, int, int, list[str]]], quick: bool) -> Section:
    """Print in how many columns and windows the package says the same."""
    missing = [package for package in PACKAGES if not python(package).exists()]
    if not results:
        return Section(skipped=f"no environment of {' or '.join(missing)}; `make bench` builds them")
    rows = [
        [f"{package} {version}", sample, f"{same:,} of {total:,}", "; ".join(wrong) or "–"]
        for package, version, sample, same, total, wrong in results
    ]
    rows += [[package, "–", "not installed", "–"] for package in missing]
    return Section(
        [], [Table("Flags of columns in windows: ours against the package's", ["package", "sample", "equal", "different"], rows)], {}
    )
