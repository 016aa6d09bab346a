"""What a reader accepts before it says no."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from driftsonde.core.errors import UnreadableObject

T = TypeVar("T")

MIB = 1024 * 1024

Bound = Annotated[int, Field(ge=1)]


class Limits(BaseModel):
    """Bounds of one read. Where a figure is in bytes, it is what the values take in memory, whatever they take in the object."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    block_bytes: Bound = Field(MIB, description="How much text is parsed at once; no row of text may be longer.")
    batch_rows: Bound = Field(65_536, description="Rows of a Parquet batch; fewer where they would take more than `batch_bytes`.")
    batch_bytes: Bound = Field(64 * MIB, description="What the rows of a batch may take.")
    held_bytes: Bound = Field(128 * MIB, description="What the pages and dictionaries that a batch is decoded from may take.")
    value_bytes: Bound = Field(MIB, description="What one value of a Parquet column may take.")
    prefetch_bytes: int = Field(64 * MIB, ge=0, description="How much of a Parquet row group is held; larger ones are read piece by piece.")
    footer_bytes: Bound = Field(16 * MIB, description="The metadata of a Parquet object.")
    max_columns: Bound = Field(5_000, description="Columns of an object.")
    max_rows: Bound = Field(10_000_000_000, description="Rows of a Parquet object.")
    max_unpacked_bytes: Bound = Field(256 * 1024 * MIB, description="What a compressed text object may grow to.")
    max_expansion: Bound = Field(1_000, description="How many times its own size an object may grow to, beyond `free_expansion_bytes`.")
    free_expansion_bytes: Bound = Field(1024 * MIB, description="What any object may grow to, however small it is.")
    seconds: float = Field(600, gt=0, description="Time to read an object, beyond what it takes at `slowest_bytes` a second.")
    slowest_bytes: Bound = Field(MIB, description="Bytes of an object that are read and counted in a second at least.")

    def most_bytes(self, size: int) -> int:
        """Return what an object of `size` bytes may grow to."""
        return max(self.free_expansion_bytes, self.max_expansion * size)

    def in_time(self, pieces: Iterable[T], name: str, size: int) -> Iterator[T]:
        """Pass on the pieces of an object until its time is over.

        Raises:
            UnreadableObject: `too_slow`, when it is.
        """
        allowed = self.seconds + size / self.slowest_bytes
        end = time.monotonic() + allowed
        for piece in pieces:
            if time.monotonic() > end:
                message = f"{name} of {size:,} bytes is not read after {allowed:.0f} s (limits: seconds, slowest_bytes)"
                raise UnreadableObject(f"{message}; replay it if something else was slow, or raise a limit", reason="too_slow")
            yield piece


def too_large(name: str, what: str, limit: str, bound: int, remedy: str) -> UnreadableObject:
    """Return the error of an object that goes beyond a limit.

    Args:
        name: of the object.
        what: it does, with the figure.
        limit: the field of `Limits`.
        bound: that field's value.
        remedy: what to do about it, other than to raise the limit.
    """
    return UnreadableObject(f"{name} {what}, more than {bound:,} (limits: {limit}); {remedy}, or raise the limit", reason="too_large")
