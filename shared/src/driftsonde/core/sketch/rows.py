"""How often rows repeat: a sample of the distinct rows, each with its count, chosen by the rows' own content.

A row's hash has 64 bits. The sample holds every distinct hash below 2^(64 - exponent) with the number of its rows, and the
exponent is the least for which there are at most `MOST` of them (a bottom-k sketch, Bar-Yossef et al. 2002, whose limit is a
power of two). That is a function of the set of rows alone, so that merging in any order and any split gives the same sample.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.sketch.counts import Counts

MOST = 128
"""Distinct rows that are kept; at least half as many are, of a table that has more."""
_BITS = 64
_ENOUGH = 16  # fewer distinct rows say little

Hashes = NDArray[np.uint64]


def _no_hashes() -> Hashes:
    return np.empty(0, dtype=np.uint64)


def _no_counts() -> Counts:
    return np.empty(0, dtype=np.int64)


@dataclass(slots=True, eq=False)
class RowSample:
    """Distinct rows and how often each occurs.

    Args:
        exponent: only hashes below 2^(64 - exponent) are kept.
        hashes: shape (k,), increasing.
        counts: shape (k,), rows of each hash.
    """

    exponent: int = 0
    hashes: Hashes = field(default_factory=_no_hashes)
    counts: Counts = field(default_factory=_no_counts)

    @classmethod
    def of(cls, hashes: Hashes, exponent: int = 0) -> RowSample:
        """Return the sample of rows of which none at or above the exponent's limit is missing from `hashes`, shape (n,)."""
        distinct, counts = np.unique(hashes, return_counts=True)
        return _reduced(exponent, distinct, counts.astype(np.int64))

    @property
    def repeated(self) -> float:
        """Share of the distinct rows that are there more than once, estimated; 0 where there are too few of them to say.

        A share of rows, not their mean count: one row that a third of all customers have would make a sample's mean a matter of luck.
        """
        return float(np.mean(self.counts > 1)) if len(self.counts) >= _ENOUGH else 0.0

    def is_possible(self) -> bool:
        """Whether rows can have given it."""
        return (
            len(self.hashes) == len(self.counts) <= MOST
            and self.exponent <= _BITS
            and bool(np.all(self.hashes[1:] > self.hashes[:-1]) and np.all(self.counts > 0))
            and (not self.exponent or not len(self.hashes) or int(self.hashes[-1]) < 1 << (_BITS - self.exponent))
        )

    __hash__ = None  # type: ignore[assignment]  # mutable: not to be a key

    def __eq__(self, other: object) -> bool:
        """Equal rows, equally often."""
        return (
            isinstance(other, RowSample)
            and self.exponent == other.exponent
            and np.array_equal(self.hashes, other.hashes)
            and np.array_equal(self.counts, other.counts)
        )


def merge_samples(samples: Iterable[RowSample]) -> RowSample:
    """Return the sample of all rows together."""
    given = list(samples)
    if len(given) == 1:
        return given[0]
    hashes = np.concatenate([_no_hashes(), *(sample.hashes for sample in given)])
    counts = np.concatenate([_no_counts(), *(sample.counts for sample in given)])
    distinct, places = np.unique(hashes, return_inverse=True)
    summed = np.zeros(len(distinct), dtype=np.int64)
    np.add.at(summed, places, counts)
    return _reduced(max((sample.exponent for sample in given), default=0), distinct, summed)


def least_exponent(keys: NDArray[np.uint32], exponent: int) -> int:
    """Return the least exponent, from a given one on, below whose limit lie at most `MOST` distinct upper halves of hashes.

    Rows with different keys differ, so the sample's exponent is never less: what this leaves out need not be hashed whole.

    Args:
        keys: shape (n,), the upper 32 bits of rows' hashes.
    """
    likely = max(exponent, (len(keys) // (2 * MOST)).bit_length())
    while likely < _BITS // 2 and len(np.unique(_below(keys, likely))) > MOST:
        likely += 1
    while likely > exponent and len(np.unique(_below(keys, likely - 1))) <= MOST:
        likely -= 1
    return likely


def _below(keys: NDArray[np.uint32], exponent: int) -> NDArray[np.uint32]:
    return keys[chosen(keys, exponent)]


def chosen(keys: NDArray[np.uint32], exponent: int) -> NDArray[np.bool_]:
    """Return, shape (n,), which rows may be in a sample of an exponent up to 32."""
    return keys <= np.uint32((1 << (_BITS // 2 - exponent)) - 1)


def _reduced(exponent: int, hashes: Hashes, counts: Counts) -> RowSample:
    while True:
        kept = len(hashes) if not exponent else int(np.searchsorted(hashes, np.uint64(1 << (_BITS - exponent))))
        if kept <= MOST or exponent == _BITS:
            return RowSample(exponent, hashes[:kept], counts[:kept])
        exponent += 1
