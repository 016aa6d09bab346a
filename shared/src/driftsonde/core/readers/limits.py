"""What a reader accepts before it says no."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one read.

    Args:
        block_bytes: how much text is parsed at once; no row of text may be longer.
        batch_rows: rows of a Parquet batch.
        prefetch_bytes: how much of a Parquet row group is held; larger ones are read piece by piece.
        max_columns: columns of an object.
        max_unpacked_bytes: what a compressed text object may grow to.
    """

    block_bytes: int = MIB
    batch_rows: int = 65_536
    prefetch_bytes: int = 64 * MIB
    max_columns: int = 5_000
    max_unpacked_bytes: int = 256 * 1024 * MIB
