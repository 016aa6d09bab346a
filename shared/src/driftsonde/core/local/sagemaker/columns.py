"""Batch transform's column filters: the index expressions of JSONPath that make sense for CSV.

`$` is every column, `$[0]` one, `$[0,2]` several, `$[1:]`, `$[:-1]`, `$[1:3]` ranges; negative numbers count from the end.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from typing import TypeAlias

ColumnFilter: TypeAlias = Callable[[Sequence[str]], Sequence[str]]
"""Takes the fields of one row and returns those that are kept."""

_FORM = re.compile(r"\$(?:\[(?:(?P<picks>-?\d+(?:,-?\d+)*)|(?P<start>-?\d+)?:(?P<stop>-?\d+)?)\])?")


def parse_filter(text: str) -> ColumnFilter:
    """Return the filter that `text` describes.

    Raises:
        ValueError: if it is another kind of JSONPath.
    """
    match = _FORM.fullmatch(text.replace(" ", ""))
    if match is None:
        raise ValueError(f"{text!r} is not supported locally; use $, $[0], $[0,2], $[1:] or $[:-1]")
    if match["picks"]:
        picks = [int(pick) for pick in match["picks"].split(",")]
        return lambda row: [row[pick] for pick in picks]
    kept = slice(*(int(end) if end else None for end in (match["start"], match["stop"])))
    return lambda row: row[kept]


def read_row(line: str) -> list[str]:
    """Split one CSV line into fields."""
    return next(csv.reader([line]), [])


def write_row(row: Sequence[str]) -> str:
    """Join fields to one CSV line, quoting where needed, without a line end."""
    out = io.StringIO()
    csv.writer(out, lineterminator="").writerow(row)
    return out.getvalue()
