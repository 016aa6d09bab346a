"""Runs in NannyML's own environment: which columns of which windows does its default alert on?"""

import json
import sys
from importlib import import_module, metadata
from pathlib import Path
from typing import Any


def main(folder: Path) -> None:
    """Print flags by column."""
    pandas: Any = import_module("pandas")
    nannyml: Any = import_module("nannyml")
    reference, windows = (pandas.read_parquet(folder / f"{name}.parquet") for name in ("reference", "windows"))
    names = [name for name in reference.columns if name != "chunk"]
    for frame in (reference, windows):  # a day for each chunk, since NannyML cuts by rows or by time
        frame["at"] = pandas.Timestamp("2024-01-01") + pandas.to_timedelta(frame.pop("chunk"), unit="D")
    calculator = nannyml.UnivariateDriftCalculator(column_names=names, timestamp_column_name="at", chunk_period="D")
    calculator.fit(reference)
    result = calculator.calculate(windows).filter(period="analysis").to_df()
    flags = {name: [bool(flag) for flag in result[(name, "jensen_shannon", "alert")]] for name in names}
    print(json.dumps({"version": metadata.version("nannyml"), "flags": flags}))


main(Path(sys.argv[1]))
