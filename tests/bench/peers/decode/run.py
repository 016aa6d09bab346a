"""pyarrow's decoding alone: what no reader of the file can do without. `parquet-groups` reads whole row groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.json as pajson
import pyarrow.parquet as pq

from bench.peers.harness import Measure, Order, serve

_MIB = 1 << 20


def parquet(path: Path) -> Any:
    """Read batch by batch."""
    return pq.ParquetFile(path).iter_batches(65_536, use_threads=False)


def groups(path: Path) -> Any:
    """Read row group by row group."""
    file = pq.ParquetFile(path)
    return (file.read_row_group(index, use_threads=False) for index in range(file.num_row_groups))


def csv(path: Path) -> Any:
    """Read blocks of 1 MiB, with declared types."""
    with path.open() as file:
        names = file.readline().replace('"', "").strip().split(",")
    return pacsv.open_csv(
        path,
        read_options=pacsv.ReadOptions(block_size=_MIB, use_threads=False),
        convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.float64())),
    )


def lines(path: Path) -> Any:
    """Read blocks of 1 MiB, with declared types."""
    names = pq.read_schema(path.with_suffix(".parquet")).names
    return pajson.open_json(
        path,
        read_options=pajson.ReadOptions(block_size=_MIB, use_threads=False),
        parse_options=pajson.ParseOptions(explicit_schema=pa.schema([(name, pa.float64()) for name in names])),
    )


READERS: dict[str, Callable[[Path], Any]] = {
    "parquet": parquet, "parquet-groups": groups, "csv": csv, "jsonl": lines,
}  # fmt: skip


def prepare(order: Order) -> Measure:
    """Measure one pass over the file."""
    read = READERS[order.form]
    path = replace(order, form=order.form.removesuffix("-groups")).path

    def measure() -> dict[str, float]:
        for _ in read(path):
            pass
        return {}

    return measure


if __name__ == "__main__":
    serve(prepare, "pyarrow")
