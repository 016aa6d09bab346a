"""A target in a process of its own, and what watches over it."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from multiprocessing.sharedctypes import Synchronized
from queue import Empty
from typing import Any, Final

from .judge import judged, peak
from .mutate import mutated
from .targets import targets

_PATIENCE: Final = 20.0  # seconds after which an input is taken to hang
_MOST: Final = 512  # MiB
_MOST_FAILURES: Final = 20

Words = Counter[str]


def _work(name: str, first: int, seconds: float, seed: Synchronized[int], results: Any) -> None:
    """Try inputs by seed until the time is over; puts each failure, and at the end how often each word came, into `results`."""
    target = targets()[name]
    judged(target, target.corpus[0])  # what is imported late is imported now
    words: Words = Counter()
    end = time.monotonic() + seconds
    while time.monotonic() < end and words["failed"] < _MOST_FAILURES:
        word = judged(target, mutated(target.corpus, first + words.total()))
        if peak() > _MOST:
            results.put((first + words.total(), f"the process has taken {peak()} MiB"))
            words["failed"] += 1
            break
        if word in ("accepted", "refused"):
            words[word] += 1
        else:
            results.put((first + words.total(), word))
            words["failed"] += 1
        seed.value = first + words.total()
    results.put(words)


def fuzz(name: str, first: int, seconds: float) -> tuple[Words, list[tuple[int, str]]]:
    """Fuzz a target; returns how often each word came, and the seeds that failed with what they did."""
    context = multiprocessing.get_context("spawn")
    seed, results = context.Value("q", first), context.Queue()
    process = context.Process(target=_work, args=(name, first, seconds, seed, results))
    process.start()
    failures: list[tuple[int, str]] = []
    last, since = first, time.monotonic()
    while True:
        try:
            item = results.get(timeout=0.5)
        except Empty:
            last, since = (last, since) if seed.value == last else (seed.value, time.monotonic())
            if process.is_alive() and time.monotonic() - since < _PATIENCE:
                continue
            what = f"it took more than {_PATIENCE:.0f} s" if process.is_alive() else f"the process died with {process.exitcode}"
            process.kill()
            return Counter(failed=len(failures) + 1, unknown=seed.value - first), [*failures, (seed.value, what)]
        if isinstance(item, Counter):
            process.join()
            return item, failures
        failures.append(item)
