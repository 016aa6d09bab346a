"""Runs in Evidently's own environment: which columns of which windows does its default call drifted?"""

import json
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Print flags by column."""
    pandas: Any = import_module("pandas")
    registry: Any = import_module("evidently.legacy.calculations.stattests.registry")
    reference, windows = (pandas.read_parquet(folder / f"{name}.parquet") for name in ("reference", "windows"))
    names = [name for name in reference.columns if name != "chunk"]
    flags: dict[str, list[bool]] = {name: [] for name in names}
    for _, window in windows.groupby("chunk"):
        for name in names:
            kind = "num" if reference[name].dtype.kind == "f" else "cat"
            before, after = reference[name].dropna(), window[name].dropna()
            test = registry.get_stattest(before, after, kind, None)
            flags[name].append(bool(test(before, after, registry.ColumnType(kind), None).drifted))
    print(json.dumps({"version": metadata.version("evidently"), "flags": flags}))


main(Path(sys.argv[1]))
