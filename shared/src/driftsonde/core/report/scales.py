"""From the bins of a column to what of them is drawn where. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from driftsonde.core.report.model import Numbers

_TAIL = 0.05
_NARROWEST = 1 / 48  # of the picture: what is drawn of bins that are narrower is their sum
_FEW_VALUES = 40


class View(NamedTuple):
    """The part of the axis that is drawn: from the edge at `first` to the one at `last`."""

    edges: tuple[float, ...]
    first: int
    last: int

    @property
    def low(self) -> float:
        """Where it begins."""
        return self.edges[self.first]

    @property
    def high(self) -> float:
        """Where it ends."""
        return self.edges[self.last]

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        half = self.high / 2 - self.low / 2  # the difference of two large numbers is infinite
        return min(1.0, max(0.0, (value / 2 - self.low / 2) / half)) if half > 0 else 0.5


class Piece(NamedTuple):
    """Neighbouring bins drawn as one: from `begin` to `end` of the picture's width, and the shares of both sides."""

    begin: float
    end: float
    before: float
    now: float

    def height(self, share: float) -> float:
        """Return the density that a share of rows has in it."""
        return share / max(self.end - self.begin, 1e-9)


class Gap(NamedTuple):
    """Where two cumulated shares differ most."""

    at: float
    before: float
    now: float

    @property
    def size(self) -> float:
        """The distance."""
        return abs(self.now - self.before)


def view_of(numbers: Numbers) -> View:
    """Leave out tails of at most a twentieth of either side, where that makes the rest twice as wide."""
    edges = numbers.edges
    whole = View(edges, 0, len(edges) - 1)
    before, now = cumulated(numbers.before), cumulated(numbers.now)
    first = max((i for i in range(len(edges)) if before[i] <= _TAIL and now[i] <= _TAIL), default=0)
    last = min((i for i in range(len(edges)) if before[i] >= 1 - _TAIL and now[i] >= 1 - _TAIL), default=len(edges) - 1)
    trimmed = View(edges, first, last)
    return trimmed if first < last and trimmed.high / 2 - trimmed.low / 2 < (whole.high / 2 - whole.low / 2) / 2 else whole


def cumulated(counts: Sequence[int]) -> list[float]:
    """Return the share at or below the right edge of each bin."""
    total = max(sum(counts), 1)
    return [count / total for count in accumulate(counts)]


def beyond(numbers: Numbers, view: View) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the shares (before, now) below the view, and above it."""
    before, now = cumulated(numbers.before), cumulated(numbers.now)
    return (before[view.first], now[view.first]), (1 - before[view.last], 1 - now[view.last])


def pieces(numbers: Numbers, view: View) -> list[Piece]:
    """Return what is drawn of a density: bins of their own width, the narrow ones together."""
    before, now = cumulated(numbers.before), cumulated(numbers.now)
    found: list[Piece] = []
    start = view.first
    for end in range(view.first + 1, view.last + 1):
        width = view.place(view.edges[end]) - view.place(view.edges[start])
        if width >= _NARROWEST or end == view.last:
            piece = Piece(view.place(view.edges[start]), view.place(view.edges[end]), before[end] - before[start], now[end] - now[start])
            if width < _NARROWEST and found:
                left = found.pop()
                piece = Piece(left.begin, piece.end, left.before + piece.before, left.now + piece.now)
            found.append(piece)
            start = end
    return found


def values(numbers: Numbers) -> list[tuple[float, float, float]] | None:
    """Return a column of few values as (value, share before, share now); None if it is not one: then it has a density."""
    places = [i for i, single in enumerate(numbers.single) if single]
    shares = [[counts[i] / max(sum(counts), 1) for i in range(len(counts))] for counts in (numbers.before, numbers.now)]
    held = [sum(side[i] for i in places) + side[0] + side[-1] for side in shares]
    if not 0 < len(places) <= _FEW_VALUES or min(held) < 0.8:
        return None
    found = [(numbers.edges[i], shares[0][i], shares[1][i]) for i in places]
    between = [i for i in range(1, len(numbers.edges)) if i not in set(places) and (numbers.before[i] or numbers.now[i])]
    found += [(numbers.edges[i - 1] / 2 + numbers.edges[i] / 2, shares[0][i], shares[1][i]) for i in between]
    return sorted(found)


def largest_gap(numbers: Numbers) -> Gap:
    """Return where the cumulated shares differ most, at the bins' edges."""
    before, now = cumulated(numbers.before), cumulated(numbers.now)
    at = max(range(len(numbers.edges)), key=lambda i: abs(now[i] - before[i]))
    return Gap(numbers.edges[at], before[at], now[at])


def short(value: float) -> str:
    """Return a number in few letters: four figures, six of what is large."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.6g}"


def ticks(low: float, high: float, most: int = 4) -> Iterator[float]:
    """Yield round numbers between two, at most about `most`."""
    span = high / most - low / most
    if not 0 < span < math.inf:
        yield low
        return
    scale = 10.0 ** math.floor(math.log10(span))
    step = next((factor * scale for factor in (1, 2, 5, 10) if factor * scale >= span), span)
    if not math.isfinite(low / step) or abs(low / step) > 1e15 or step == 0:
        yield from (low, high)
        return
    for number in range(math.ceil(low / step), math.floor(high / step) + 1):
        yield number * step
