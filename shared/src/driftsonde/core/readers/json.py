"""JSON Lines in blocks of whole lines. A block that Arrow refuses is read line by line, so that one bad line costs one row."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Iterator
from itertools import groupby
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from driftsonde.core.readers.chunks import BatchChunk, Chunk
from driftsonde.core.readers.limits import MIB, Limits, too_large
from driftsonde.core.readers.table import Wanted

_BLOCKS = 4
_CELLS = 4 * MIB
_NO_OBJECT = re.compile(rb"^[ \t\r]*[^{ \t\r\n]", re.MULTILINE)
_MAX_OPENING = 500
_NEWLINE = ord("\n")
_NOT_OPENING = bytes(set(range(256)) - set(b"[{\n"))


class JsonReader:
    """Reads one JSON object per line."""

    def __init__(self, name: str, stream: IO[bytes], wanted: Wanted, limits: Limits) -> None:
        self.names: set[str] = set()
        self.bad_rows = self.done = 0
        self._name, self._stream, self._wanted, self._limits = name, stream, wanted, limits

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield one batch a block; types are inferred block by block."""
        for block in self._blocks():
            for table in _joined(map(self._named, _cut(block))):
                columns = [name for name in table.schema.names if self._wanted(name)]
                # With no wanted column there is still something to count the rows by.
                yield from table.select(columns or table.schema.names[:1]).to_batches()

    def _named(self, block: bytes) -> pa.Table:
        """Parse, and note the names of the columns."""
        table = self._parse(block)
        self.names |= set(table.schema.names)
        if len(self.names) > self._limits.max_columns:
            raise too_large(self._name, f"has {len(self.names):,} columns or more", "max_columns", self._limits.max_columns, "write fewer")
        return table

    def chunks(self, begin: int = 0) -> Iterator[Chunk]:  # text has no row groups
        """Yield the blocks, parsed."""
        return map(BatchChunk, self.batches())

    def _blocks(self) -> Iterator[bytes]:
        rest = b""
        while chunk := self._stream.read(self._limits.block_bytes * _BLOCKS):
            whole, newline, tail = (rest + chunk).rpartition(b"\n")
            if newline:
                yield whole
            if len(tail) > self._limits.block_bytes:
                raise too_large(
                    self._name, f"has a line of {len(tail):,} bytes or more", "block_bytes", self._limits.block_bytes, "shorten it"
                )
            rest = tail
        if rest.strip():
            yield rest

    def _parse(self, block: bytes) -> pa.Table:
        if not _is_safe(block):
            return self._parse_lines(block)
        try:
            table = pajson.read_json(
                io.BytesIO(block), read_options=pajson.ReadOptions(use_threads=False, block_size=max(len(block) + 1, 1024))
            )
            _ = table.schema.names  # decoded here: they may not be UTF-8
        except (pa.ArrowException, ValueError):
            return self._parse_lines(block)
        return table

    def _parse_lines(self, block: bytes) -> pa.Table:
        rows: list[dict[str, Any]] = []
        for line in block.splitlines():
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            if isinstance(row, dict):
                rows.append(row)
            else:
                self.bad_rows += 1
        names = dict.fromkeys(name for row in rows for name in row)
        return pa.table({_utf8(name): _column([row.get(name) for row in rows]) for name in names})


def _cut(block: bytes) -> Iterator[bytes]:
    """Cut a block so that no piece has too many cells: there may be as many columns as there are keys, each as long as there are rows."""
    cells = (block.count(b"\n") + 1) * block.count(b":")
    step = len(block) // math.ceil(math.sqrt(max(cells, 1) / _CELLS))
    if cells <= _CELLS or step == len(block) or b"\n" not in block:
        yield block
        return
    begin = 0
    while begin < len(block):
        end = block.find(b"\n", begin + step)
        yield from _cut(block[begin : end if end >= 0 else len(block)])
        begin = end + 1 if end >= 0 else len(block)


def _joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Join tables of the same columns again: a look-up in the bins costs the same for few rows as for many."""
    for _, alike in groupby(tables, key=lambda table: table.schema):
        yield pa.concat_tables(alike).combine_chunks()


def _is_safe(block: bytes) -> bool:
    """Say whether Arrow can be trusted with a block: it crashes on a first line `null`, and on nesting of some ten thousand levels."""
    ends = np.flatnonzero(np.frombuffer(block, dtype=np.uint8) == _NEWLINE)
    objects = block.startswith(b"{") and block.count(b"\n{") == len(ends)  # nearly always, and quicker than to look closely
    if not objects and _NO_OBJECT.search(block):
        return False
    longest = int(np.diff(ends, prepend=-1, append=len(block)).max())
    return longest <= _MAX_OPENING or max(map(len, block.translate(None, _NOT_OPENING).split(b"\n"))) <= _MAX_OPENING


def _column(values: list[Any]) -> pa.Array:
    """Return values as an array; what has no common type becomes text."""
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        return pa.array([None if value is None else _utf8(value if isinstance(value, str) else _dumped(value)) for value in values])


def _dumped(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:  # read just within the limit, written just beyond it
        return "..."


def _utf8(text: str) -> str:
    """Replace lone surrogates, which JSON can spell and UTF-8 cannot."""
    return text.encode("utf-8", "replace").decode()
