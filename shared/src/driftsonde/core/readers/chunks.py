"""Rows as they are counted: column by column, so that where memory counts one column is decoded at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import pyarrow as pa


class Chunk(Protocol):
    """Some rows of an object.

    Attributes:
        rows: how many.
        names: the columns that were read, in the object's order.
    """

    rows: int
    names: Sequence[str]

    def pieces(self, name: str) -> Iterator[pa.Array]:
        """Yield a column's values in row order, in one array or in several.

        Raises:
            UnreadableObject: if the bytes are not what they should be.
        """
        ...


class BatchChunk:
    """A record batch: everything is decoded already."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self.rows: int = batch.num_rows
        self.names: Sequence[str] = batch.schema.names

    def pieces(self, name: str) -> Iterator[pa.Array]:
        """Yield the column, whole."""
        yield self._batch.column(name)
