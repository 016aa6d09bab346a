"""Rows as numbers. An encoding only ever grows: a level keeps its code for ever, so an old model still reads new files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from driftsonde.core.columns import column_type, level_name, numbers


@dataclass
class Encoding:
    """The features in the order of the CSV's columns; for a categorical one its levels, whose place is their code."""

    features: list[str]
    levels: dict[str, list[str]] = field(default_factory=dict)

    @classmethod
    def load(cls, data: dict[str, Any]) -> Encoding:
        """Read back `dump()`."""
        return cls(list(data["features"]), {name: list(levels) for name, levels in data["levels"].items()})

    def dump(self) -> dict[str, Any]:
        """Return plain data."""
        return {"features": self.features, "levels": self.levels}

    @classmethod
    def infer(cls, schema: pa.Schema, *, skip: Iterable[str], categorical: Iterable[str]) -> Encoding:
        """Take every column that can be a feature."""
        skipped, declared = set(skip), set(categorical)
        kinds = {item.name: column_type(item.type) for item in schema if item.name not in skipped}
        features = [name for name, kind in kinds.items() if kind in ("numeric", "categorical", "empty") or name in declared]
        return cls(features, {name: [] for name in features if kinds[name] == "categorical" or name in declared})

    def grow(self, batch: pa.RecordBatch) -> None:
        """Give new levels the next codes."""
        for name, known in list(self.levels.items()):
            if name in batch.schema.names:
                seen = set(known)
                self.levels[name] = known + sorted({level_name(v) for v in batch.column(name).unique().to_pylist() if v is not None} - seen)

    def matrix(self, batch: pa.RecordBatch) -> NDArray[np.float64]:
        """Return the features of shape (rows, features); NaN where there is nothing, or an unknown level."""
        columns = []
        for name in self.features:
            if name not in batch.schema.names:
                columns.append(np.full(batch.num_rows, np.nan))
            elif name in self.levels:
                codes = {level: float(code) for code, level in enumerate(self.levels[name])}
                columns.append(_coded(batch.column(name), codes))
            else:
                columns.append(as_floats(batch.column(name)))
        return np.column_stack(columns) if columns else np.empty((batch.num_rows, 0))


def as_floats(array: pa.Array) -> NDArray[np.float64]:
    """Return numbers of shape (rows,), NaN where there is none."""
    if pa.types.is_boolean(array.type):
        array = array.cast(pa.int8())
    if column_type(array.type) == "numeric":
        values = array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return np.where(np.isfinite(values), values, np.nan)
    return np.array([_number(value) for value in array.to_pylist()])


def _number(value: object) -> float:
    found = numbers(pa.array([value if value is None else str(value)], pa.string())).values
    return float(found[0]) if len(found) else float("nan")


def _coded(array: pa.Array, codes: dict[str, float]) -> NDArray[np.float64]:
    encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    table = np.array(
        [codes.get(level_name(value), np.nan) if value is not None else np.nan for value in encoded.dictionary.to_pylist()] + [np.nan]
    )
    index = encoded.indices.fill_null(len(table) - 1).to_numpy(zero_copy_only=False)
    values: NDArray[np.float64] = table[index]
    return values
