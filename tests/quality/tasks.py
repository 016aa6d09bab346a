"""Work for two processes: a task is a function of the module's top level with what it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import pyarrow as pa

WORKERS = 2


@dataclass(frozen=True)
class Task:
    """One piece of a section; `effort` is for the progress bar alone."""

    work: Callable[..., Any]
    arguments: tuple[Any, ...] = ()
    effort: float = 1.0


def run(sections: Sequence[tuple[str, Sequence[Task]]], done: Callable[[str, float], None]) -> Iterator[tuple[str, list[Any]]]:
    """Run all tasks in two processes, and yield each section's results, in order of its tasks, as it ends."""
    with ProcessPoolExecutor(WORKERS, mp_context=get_context("spawn"), initializer=_alone) as pool:
        started = [(name, [_start(pool, name, task, done) for task in tasks]) for name, tasks in sections]
        for name, futures in started:
            yield name, [future.result() for future in futures]


def _start(pool: ProcessPoolExecutor, name: str, task: Task, done: Callable[[str, float], None]) -> Future[Any]:
    future = pool.submit(task.work, *task.arguments)
    future.add_done_callback(lambda _: done(name, task.effort))
    return future


def _alone() -> None:
    """Two processes on two cores: threads inside them would only get in each other's way."""
    pa.set_cpu_count(1)


def total(tasks: Iterable[Task]) -> float:
    """Return the effort of all of them."""
    return sum(task.effort for task in tasks)
