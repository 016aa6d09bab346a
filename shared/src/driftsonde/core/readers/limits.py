"""What a reader accepts before it says no."""

from __future__ import annotations

from dataclasses import dataclass

from driftsonde.core.errors import UnreadableObject

MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one read. Where a figure is in bytes, it is what the values take in memory, whatever they take in the object.

    Args:
        block_bytes: how much text is parsed at once; no row of text may be longer.
        batch_rows: rows of a Parquet batch; fewer where they would take more than `batch_bytes`.
        batch_bytes: what the rows of a batch may take.
        held_bytes: what the pages and dictionaries that a batch is decoded from may take.
        value_bytes: what one value of a Parquet column may take.
        prefetch_bytes: how much of a Parquet row group is held; larger ones are read piece by piece.
        footer_bytes: the metadata of a Parquet object.
        max_columns: columns of an object.
        max_rows: rows of a Parquet object.
        max_unpacked_bytes: what a compressed text object may grow to.
        max_expansion: how many times its own size an object may grow to, if that is more than `free_expansion_bytes`.
        free_expansion_bytes: what any object may grow to, however small it is.
    """

    block_bytes: int = MIB
    batch_rows: int = 65_536
    batch_bytes: int = 64 * MIB
    held_bytes: int = 128 * MIB
    value_bytes: int = MIB
    prefetch_bytes: int = 64 * MIB
    footer_bytes: int = 16 * MIB
    max_columns: int = 5_000
    max_rows: int = 10_000_000_000
    max_unpacked_bytes: int = 256 * 1024 * MIB
    max_expansion: int = 1_000
    free_expansion_bytes: int = 1024 * MIB

    def most_bytes(self, size: int) -> int:
        """Return what an object of `size` bytes may grow to."""
        return max(self.free_expansion_bytes, self.max_expansion * size)


def too_large(name: str, what: str, limit: str, bound: int, remedy: str) -> UnreadableObject:
    """Return the error of an object that goes beyond a limit.

    Args:
        name: of the object.
        what: it does, with the figure.
        limit: the field of `Limits`.
        bound: that field's value.
        remedy: what to do about it, other than to raise the limit.
    """
    return UnreadableObject(f"{name} {what}, more than {bound:,} (Limits.{limit}); {remedy}, or raise the limit", reason="too_large")
