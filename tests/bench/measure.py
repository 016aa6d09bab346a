"""Clocks and rounds. CPU time counts every thread of the process; of the rounds the median is taken."""

from __future__ import annotations

import gc
import math
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)
ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".bench"
_ENOUGH = 0.02  # the CPU clock's resolution and a stray interrupt are nothing against this


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Args:
        quick: small sizes, for developing.
        large: the 10 GB object too.
        rounds: how often each thing is measured.
    """

    quick: bool = False
    large: bool = False
    rounds: int = 5

    def rows(self, full: int) -> int:
        """Return a number of rows: a tenth of it in a quick run."""
        return full // 10 if self.quick else full


@dataclass(frozen=True)
class Cost:
    """Seconds; `spread` is how far the rounds' CPU times lie apart, as a share of their median."""

    cpu: float
    wall: float
    spread: float = 0.0


def timed(work: Callable[[], object], calls: int = 1) -> Cost:
    """Measure one call of `work`, as the mean of `calls`."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(calls):
        work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Cost(cpu / calls, wall / calls)


def interleaved(works: Mapping[Key, Callable[[], object]], rounds: int, *, enough: float = _ENOUGH) -> dict[Key, Cost]:
    """Measure A B C, A B C …, each as often as there are rounds; what takes less than `enough` seconds is called several times a round.

    The first call of each, which finds cold caches and decides how many calls make a round, is not counted.
    """
    calls = {key: max(1, math.ceil(enough / max(timed(work).cpu, 1e-6))) for key, work in works.items()}
    costs: dict[Key, list[Cost]] = {key: [] for key in works}
    for _ in range(rounds):
        for key, work in works.items():
            costs[key].append(timed(work, calls[key]))
    return {key: middle(of) for key, of in costs.items()}


def middle(costs: list[Cost]) -> Cost:
    """Return the median of CPU and of wall time."""
    cpu = [cost.cpu for cost in costs]
    return Cost(median(cpu), median(cost.wall for cost in costs), (max(cpu) - min(cpu)) / median(cpu))


def progress(text: str) -> None:
    """Say what is going on; not part of the result."""
    print(f"  {text}", file=sys.stderr, flush=True)
