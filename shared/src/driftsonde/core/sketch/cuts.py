"""How many values lie at or below each of some cuts.

Sorting values and looking the few cuts up in them is several times cheaper than looking each of many values up among the
cuts: numpy sorts with SIMD instructions, and puts NaN last. Eight-byte values are sorted as float32, which takes little more
than half the time, and what that leaves open is counted again on the values themselves, so that no count is approximate
(decision 0006).
"""

from __future__ import annotations

import math
import threading
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from driftsonde.core.sketch.counts import Counts

Numbers = NDArray[Any]
"""Integers or floats of any width."""
Mask = NDArray[np.bool_]

# Below this many values per cut, looking each value up among the cuts beats sorting them.
_SORT_PAYS_FROM = 2
# Sorted at a time, at most: as many as stay in a core's own cache.
_BLOCK = 50_000
# Below this many values the few more steps of sorting float32 cost more than they save.
_NARROW_FROM = 8_192
# Counting one cut again costs a twentieth of sorting; values that are spread out need it for one cut in a few hundred.
_MOST_COUNTED_AGAIN = 16
# Blocks that are sorted as they are before float32 is tried again.
_LONGEST_REST = 64
# Integers up to these are the same as float32, and far from those that float64 rounds.
_EXACT32, _SAFE = 1 << 24, 1 << 52


class Cuts:
    """Cuts, looked up in values of their own type.

    Args:
        values: shape (k,), k >= 1, in order, no NaN. Integers are at most 2**53 in magnitude.
    """

    def __init__(self, values: Numbers) -> None:
        self._values = values

    def below(self, values: Numbers, present: Mask | None = None) -> Counts:
        """Return, shape (k,), how many values lie at or below each cut. NaN lies above all.

        Args:
            values: shape (n,), of the cuts' type or, for integers, of a narrower one.
            present: shape (n,), false where a value is missing and whatever stands in its place must not count; None if
                none is missing.

        Raises:
            TooLargeError: if integers are so large that they must be counted as floats.
        """
        if len(values) < _SORT_PAYS_FROM * len(self._values):
            there = values if present is None else values[present]
            _check_exact(there)
            places = np.searchsorted(self._values, there, side="left")
            return np.cumsum(np.bincount(places, minlength=len(self._values) + 1)[:-1], dtype=np.int64)
        total = np.zeros(len(self._values), dtype=np.int64)
        size = math.ceil(len(values) / math.ceil(len(values) / _BLOCK))  # of equal blocks: looking up costs the same for a small one
        for start in range(0, len(values), size):
            end = start + size
            total += self._block(values[start:end], None if present is None else present[start:end])
        return total

    def _block(self, values: Numbers, present: Mask | None) -> Counts:
        if values.dtype.itemsize == 8 and len(values) >= _NARROW_FROM:
            found = self._narrow.below(values, present)
            if found is not None:
                return found
        if values.dtype.kind == "f" or present is None:
            block = _buffer("sorted", values.dtype, len(values))
            np.copyto(block, values)
        else:
            block = values[present]
        if values.dtype.kind == "f":
            _blank(block, present)
        else:
            _check_exact(block)
        block.sort()
        return np.searchsorted(block, self._values, side="right")

    @cached_property
    def _narrow(self) -> _Narrow:
        return _Narrow(self._values)


class TooLargeError(Exception):
    """Some integer is larger than those that float64 holds exactly, and so are not told apart by a baseline's edges."""


def _check_exact(values: Numbers) -> None:
    if values.dtype.kind != "f" and values.dtype.itemsize == 8 and len(values) and (values.max() > 2 * _SAFE or values.min() <= -2 * _SAFE):
        raise TooLargeError


class _Narrow:
    """Cuts among values that are rounded to float32, less a pivot.

    Rounding keeps order: what lies at or below a cut stays so. Only values above it that are rounded to the same float32 as the
    cut itself are counted too many. Where values are spread out these are few, and the cut is counted again. Where floats repeat
    they are many, but such floats are quickly sorted as they are. Integers that float32 holds exactly are counted by cuts that are
    rounded down.

    Whether it pays is learnt from the values that come: it decides how long they take, never what is counted.
    """

    def __init__(self, cuts: Numbers) -> None:
        self._cuts = cuts
        self._pivot = _pivot(cuts)
        self._rounded = np.empty(len(cuts), dtype=np.float32)
        self._round(cuts, self._rounded)
        self._floors = _floors(cuts, self._rounded, self._pivot)
        self._resting = 0
        self._rest = 1

    def below(self, values: Numbers, present: Mask | None) -> Counts | None:
        """Return how many values lie at or below each cut, or None where float32 tells too few of them apart."""
        if self._resting:
            self._resting -= 1
            return None
        block = _buffer("sorted", np.float32, len(values))
        self._round(values, block)
        _blank(block, present)
        block.sort()
        if values.dtype.kind != "f":
            most = _largest(block)
            if most < _EXACT32:
                return np.searchsorted(block, self._floors, side="right")
            if most >= _SAFE:
                return None
        below = np.searchsorted(block, self._rounded, side="right")
        at = np.flatnonzero((below > 0) & (block[below - 1] == self._rounded))  # where the same float32 stands for cut and value
        if len(at) > _MOST_COUNTED_AGAIN:
            self._rest_a_while()
            return None
        self._rest = 1
        for cut in at.tolist():
            under = values <= self._cuts[cut].item()
            below[cut] = np.count_nonzero(under if present is None else under & present)
        return below

    def _rest_a_while(self) -> None:
        """Leave the next blocks alone, each time more of them, so that a hopeless column costs next to nothing."""
        self._rest = min(2 * self._rest, _LONGEST_REST)
        self._resting = self._rest

    def _round(self, values: Numbers, to: NDArray[np.float32]) -> None:
        with np.errstate(over="ignore", invalid="ignore"):  # beyond float32 lies infinity, in order still; what is missing may be anything
            if self._pivot:
                np.subtract(values, self._pivot, out=to, casting="unsafe")
            else:
                np.copyto(to, values, casting="unsafe")


def _largest(ordered: NDArray[np.float32]) -> float:
    """Return the largest magnitude; NaN, which stands for what is missing, lies last."""
    last = int(np.searchsorted(ordered, np.float32(np.inf), side="right"))
    return max(-float(ordered[0]), float(ordered[last - 1])) if last else 0.0


def _pivot(cuts: Numbers) -> float:
    """Return what to take away before rounding: nothing, but for values that lie close together and far from zero."""
    low, middle, high = (float(cuts[len(cuts) * part // 4]) for part in (1, 2, 3))
    return middle if abs(middle) < _SAFE / 2 and abs(middle) > 4 * (high - low) else 0.0


def _floors(cuts: Numbers, rounded: NDArray[np.float32], pivot: float) -> NDArray[np.float32]:
    """Return the largest float32 that stands for a value at or below each cut, where float32 stands for one value each."""
    floors = rounded.copy()
    while np.any(above := floors + np.float64(pivot) > cuts):  # a step for either rounding: of the difference, and to float32
        floors[above] = np.nextafter(floors[above], np.float32(-np.inf))
    return floors


def _blank(block: Numbers, present: Mask | None) -> None:
    """Put NaN where a value is missing: all bits set are a NaN of any width."""
    if present is not None:
        size = block.dtype.itemsize
        missing = _buffer("missing", np.dtype(f"u{size}"), len(block))
        np.copyto(missing, (present.view(np.uint8) - np.uint8(1)).view(np.int8), casting="unsafe")
        np.bitwise_or(block.view(missing.dtype), missing, out=block.view(missing.dtype))


_buffers = threading.local()


def _buffer(use: str, dtype: Any, size: int) -> Numbers:
    """Return memory of this thread for up to a block of values; new memory for each would have to be mapped and cleared."""
    kept: dict[Any, Numbers] = _buffers.__dict__
    key = f"{use} {np.dtype(dtype).char}"
    if key not in kept:
        kept[key] = np.empty(_BLOCK, dtype=dtype)
    return kept[key][:size]
